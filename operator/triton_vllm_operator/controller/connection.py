"""Credentials: one connection for the official client, one for kopf's watches."""

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import kopf
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config.incluster_config import (
    SERVICE_CERT_FILENAME,
    SERVICE_TOKEN_FILENAME,
    InClusterConfigLoader,
)

from triton_vllm_operator.controller.settings import Settings

_TOKEN_LIFE: Final = timedelta(minutes=10)
"""A projected token is renewed in its file long before its hour is over; kopf must read it again."""


async def open_api_client(settings: Settings, connections: int) -> ApiClient:
    """The official client, from the pod's service account or a kubeconfig."""
    configuration = Configuration()
    if settings.kubeconfig is not None:
        await config.load_kube_config(config_file=str(settings.kubeconfig), client_configuration=configuration)
    else:
        config.load_incluster_config(client_configuration=configuration)
    configuration.connection_pool_maxsize = connections
    # The environment's proxies and ~/.netrc are not for the API server; aiohttp looks them up, in two threads, for
    # every request.
    configuration.client_session_kwargs = {"trust_env": False}
    return ApiClient(configuration)


def connect_kopf(settings: Settings, kopf_settings: kopf.OperatorSettings) -> kopf.ConnectionInfo:
    """The connection for kopf's watches: the same server and credentials as the client's.

    kopf's own login asks DNS for kubernetes.default.svc, which need not be there.

    Raises:
        kopf.LoginError: there are no credentials.
    """
    expiration = datetime.now(UTC) + _TOKEN_LIFE
    if settings.kubeconfig is not None:
        info = kopf.login_with_kubeconfig(settings=kopf_settings)
        if info is None:
            raise kopf.LoginError(f"{settings.kubeconfig} names no cluster")
        return dataclasses.replace(info, expiration=expiration)
    try:
        loader = InClusterConfigLoader(SERVICE_TOKEN_FILENAME, SERVICE_CERT_FILENAME)
        configuration = Configuration()
        loader.load_and_set(configuration)
    except config.ConfigException as error:
        raise kopf.LoginError(f"no service account is mounted: {error}") from error
    return kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        scheme="Bearer",
        token=Path(SERVICE_TOKEN_FILENAME).read_text().strip(),
        expiration=expiration,
    )
