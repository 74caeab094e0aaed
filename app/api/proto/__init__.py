"""Protobuf of the streaming API. tempo.proto is written by hand, tempo_pb2.py and tempo_pb2.pyi are made of it."""
