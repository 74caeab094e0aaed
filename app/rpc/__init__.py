"""Calls between the processes of a cluster, over gRPC: frames, who may call, servers, clients, errors."""
