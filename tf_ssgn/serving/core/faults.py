"""What a request can be refused with, in gRPC's status names, whichever transport brought it."""


class Fault(Exception):
    """A refused request: `code` is the name of a gRPC status code, the message is one line."""

    def __init__(self, code: str, message: str):
        super().__init__(" ".join(message.split()))
        self.code = code


def invalid(message: str) -> Fault:
    return Fault("INVALID_ARGUMENT", message)


def not_found(message: str) -> Fault:
    return Fault("NOT_FOUND", message)
