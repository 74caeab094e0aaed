"""The settings of `storage.trace` → the configuration that `tables.storage` opens. Options have obstore's names."""

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from app.errors import SettingsError
from app.settings.sections.buckets import GCS, S3, SSE, Azure, Bucket
from app.settings.sections.storage import Trace
from tables.storage.config import Hedging, Retry, StorageConfig

_TRACE = "storage.trace"
_WORKLOAD_IDENTITY = ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE")


def storage_config(trace: Trace) -> StorageConfig:
    """The storage configuration. What is not set, obstore looks up itself: `AWS_…` variables and the like, and the
    identity of the machine.

    Raises: SettingsError if a file that a setting names cannot be read, or a variable or package is missing
    """
    limits: dict[str, Any] = {
        "read_timeout_s": trace.read_timeout_s,
        "write_timeout_s": trace.write_timeout_s,
        "concurrent_requests_max": trace.concurrent_requests_max,
    }
    match trace.backend:
        case "local":
            return StorageConfig("local", str(trace.local.path), **limits)
        case "s3":
            s3 = trace.s3
            retry = Retry(s3.retry_max_attempts, s3.retry_backoff_initial, s3.retry_backoff_max)
            attributes = {**s3.metadata, **({"Storage-Class": s3.storage_class} if s3.storage_class else {})}
            put = _set({"tags": s3.tags, "attributes": attributes})
            limits |= {**_of_bucket(s3), "retry": retry}
            return StorageConfig("s3", s3.bucket, options=_s3(s3), put_options=put, **limits)
        case "gcs":
            gcs = trace.gcs
            cache = {"Cache-Control": gcs.object_cache_control} if gcs.object_cache_control else {}
            put = _set({"attributes": {**gcs.object_metadata, **cache}})
            limits |= _of_bucket(gcs)
            return StorageConfig("gcs", gcs.bucket_name, options=_gcs(gcs), put_options=put, **limits)
        case "azure":
            azure = trace.azure
            limits |= _of_bucket(azure)
            return StorageConfig("azure", azure.container_name, options=_azure(azure, os.environ), **limits)


def _of_bucket(bucket: Bucket) -> dict[str, Any]:
    return {"prefix": bucket.prefix, "hedging": Hedging(bucket.hedge_requests_at, bucket.hedge_requests_up_to)}


def _s3(s3: S3) -> dict[str, Any]:
    options = {
        "endpoint": _s3_endpoint(s3),
        "region": s3.region,
        "access_key_id": s3.access_key,
        "secret_access_key": s3.secret_key.get_secret_value(),
        "session_token": s3.session_token.get_secret_value(),
        "virtual_hosted_style_request": s3.bucket_in_host,
        **_sse(s3.sse),
    }
    client: dict[str, Any] = {}
    if s3.endpoint_url:
        client["allow_http"] = s3.endpoint_url.startswith("http://")
    if s3.tls_ca_path:
        client["root_certificate"] = _file(s3.tls_ca_path, "s3.tls_ca_path")
    if s3.tls_insecure_skip_verify:
        client["allow_invalid_certificates"] = True
    if s3.native_aws_auth_enabled:
        options["credential_provider"] = _aws_credentials()
    return _set({**options, "client_options": client})


def _s3_endpoint(s3: S3) -> str | None:
    """The endpoint as obstore takes it: with the bucket in the host name, if it belongs there."""
    url = s3.endpoint_url
    if url is None or not s3.bucket_in_host:
        return url
    parts = urlsplit(url)
    host = parts.netloc if parts.netloc.startswith(f"{s3.bucket}.") else f"{s3.bucket}.{parts.netloc}"
    return urlunsplit(parts._replace(netloc=host))


def _sse(sse: SSE) -> dict[str, Any]:
    match sse.type:
        case "SSE-S3":
            return {"server_side_encryption": "AES256"}
        case "SSE-KMS":
            return {"server_side_encryption": "aws:kms", "sse_kms_key_id": sse.kms_key_id}
        case "SSE-C":
            key = base64.b64encode(sse.encryption_key.get_secret_value().encode()).decode()
            return {"server_side_encryption": "sse-c", "sse_customer_key_base64": key}
        case "":
            return {}


def _aws_credentials() -> Any:
    where = f"{_TRACE}.s3.native_aws_auth_enabled"
    try:
        from obstore.auth.boto3 import Boto3CredentialProvider  # an optional package
    except ImportError as err:
        raise SettingsError(f"{where}: the package boto3 is missing; install it: pip install 'stretto[aws]'") from err
    try:
        return Boto3CredentialProvider()
    except Exception as err:  # botocore's exceptions have no common base that is public
        raise SettingsError(f"{where}: AWS's SDK finds no credentials: {err}") from err


def _gcs(gcs: GCS) -> dict[str, Any]:
    if gcs.insecure:
        client = {"allow_http": True, "allow_invalid_certificates": True}
        return {"service_account_key": anonymous_key(gcs.base_url), "client_options": client}
    if gcs.service_account_file:
        _file(gcs.service_account_file, "gcs.service_account_file")
    return _set({"base_url": gcs.base_url, "service_account": gcs.service_account_file})


def anonymous_key(base_url: str) -> str:
    """A service account's key that asks for no credentials. (obstore's `skip_signature` is for reads only: its writes
    ask Google's metadata server for a token.)
    """
    nobody = {"client_email": "", "private_key": "", "private_key_id": ""}
    return json.dumps({"gcs_base_url": base_url, "disable_oauth": True, **nobody})


def _azure(azure: Azure, environ: Mapping[str, str]) -> dict[str, Any]:
    options: dict[str, Any] = {
        "account_name": azure.storage_account_name,
        "account_key": azure.storage_account_key.get_secret_value(),
        "sas_key": azure.sas_token.get_secret_value().removeprefix("?"),
        "endpoint": azure.endpoint_url,
    }
    if azure.use_federated_token:
        if missing := [name for name in _WORKLOAD_IDENTITY if not environ.get(name)]:
            where = f"{_TRACE}.azure.use_federated_token"
            raise SettingsError(f"{where}: needs the variables {', '.join(missing)}, which workload identity sets")
        options["credential_type"] = "workload_identity"
    if azure.use_managed_identity:
        options |= {"credential_type": "managed_identity", "client_id": azure.user_assigned_id}
    if azure.endpoint_url.startswith("http://"):
        options["client_options"] = {"allow_http": True}
    return _set(options)


def _file(name: str, key: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except OSError as err:
        raise SettingsError(f"{_TRACE}.{key}: {name} cannot be read: {err.strerror or err}") from err


def _set(options: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value not in (None, "", {})}
