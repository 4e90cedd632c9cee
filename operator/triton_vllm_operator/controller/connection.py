"""Credentials: one connection for the official client, one for kopf's watches."""

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Final

import kopf
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

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
    return ApiClient(configuration)


def connect_kopf(settings: Settings, kopf_settings: kopf.OperatorSettings) -> kopf.ConnectionInfo:
    """The connection for kopf's watches.

    Raises:
        kopf.LoginError: there are no credentials.
    """
    if settings.kubeconfig is not None:
        info = kopf.login_with_kubeconfig(settings=kopf_settings)
    else:
        info = kopf.login_with_service_account(settings=kopf_settings)
    if info is None:
        raise kopf.LoginError("no service account is mounted, and no kubeconfig was named")
    return dataclasses.replace(info, expiration=datetime.now(UTC) + _TOKEN_LIFE)
