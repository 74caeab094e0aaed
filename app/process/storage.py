"""The settings of `storage.trace` → the configuration that `tables.blocks` opens."""

from typing import Any

from app.settings.storage import Trace
from tables.storage.object_store import StorageConfig


def storage_config(trace: Trace) -> StorageConfig:
    """The storage configuration. Options have obstore's names; obstore itself looks up unset ones (AWS_… and the
    like).
    """
    match trace.backend:
        case "local":
            return StorageConfig("local", str(trace.local.path))
        case "s3":
            s3 = trace.s3
            options: dict[str, Any] = {
                "endpoint": s3.endpoint_url,
                "region": s3.region,
                "access_key_id": s3.access_key,
                "secret_access_key": s3.secret_key.get_secret_value(),
            }
            if s3.endpoint_url:
                options["virtual_hosted_style_request"] = not s3.forcepathstyle
                options["client_options"] = {"allow_http": s3.endpoint_url.startswith("http://")}
            return StorageConfig("s3", s3.bucket, s3.prefix, _set(options), trace.read_timeout_s)
        case "gcs":
            gcs = trace.gcs
            options = {"base_url": gcs.endpoint}
            if gcs.endpoint:
                # A server other than Google's: an emulator, which asks for no signature.
                options["skip_signature"] = True
                options["client_options"] = {"allow_http": gcs.endpoint.startswith("http://")}
            return StorageConfig("gcs", gcs.bucket_name, gcs.prefix, _set(options), trace.read_timeout_s)
        case "azure":
            azure = trace.azure
            name = azure.storage_account_name
            options = {
                "account_name": name,
                "account_key": azure.storage_account_key.get_secret_value(),
                "endpoint": f"https://{name}.{azure.endpoint_suffix}",
            }
            return StorageConfig("azure", azure.container_name, azure.prefix, _set(options), trace.read_timeout_s)


def _set(options: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value not in (None, "")}
