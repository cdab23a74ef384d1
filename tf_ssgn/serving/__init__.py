"""The service: signatures over a model and a gallery, spoken over the TensorFlow Serving gRPC API."""

import importlib.util

from tf_ssgn.errors import UserError

CLIENT_NEEDS = ("grpc", "google.protobuf")
SERVER_NEEDS = (*CLIENT_NEEDS, "grpc_health", "grpc_reflection", "tensorflow_serving")


def require_extra(packages: tuple[str, ...]) -> None:
    """Raises UserError that names the `serve` extra unless all `packages` can be imported; imports none of them."""
    for package in packages:
        try:
            installed = importlib.util.find_spec(package) is not None
        except ModuleNotFoundError:  # the parent of a dotted name
            installed = False
        if not installed:
            raise UserError(
                f"the package {package!r} is not installed, expected the serve extra; pip install 'tf_ssgn[serve]'"
            )
