"""The client of the service, under its public name: `from tf_ssgn.client import Client`."""

from tf_ssgn.serving.client.client import Answer, AsyncClient, Client, Explanation, ImageError, RemoteHit, RequestError

__all__ = ["Answer", "AsyncClient", "Client", "Explanation", "RemoteHit", "ImageError", "RequestError"]
