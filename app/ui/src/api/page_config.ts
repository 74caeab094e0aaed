// What this server says of itself to the page: GET /api/page/config.

export interface Receiver {
  name: string;
  label: string;
  scheme: string;
  /** "": all addresses of the server's machine. */
  host: string;
  port: number;
  tls: boolean;
  setting: string;
}

export interface PageConfig {
  version: string;
  apiVersion: string;
  pythonVersion: string;
  target: string;
  receivers: Receiver[];
  /** Whether this process has the receivers; else another one that is set up alike. */
  receivesHere: boolean;
  multitenancy: boolean;
  tokens: boolean;
  /** Whether the map of services can come from a Prometheus. */
  serviceGraph: boolean;
  demo: { allowed: boolean; running: boolean };
}
