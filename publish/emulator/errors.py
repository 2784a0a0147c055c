"""The refusals of the service: what a request ends in when it does not end well."""

from __future__ import annotations


class ServiceError(Exception):
    """An answer that says no: `code` is the exception's name on the wire, the HTTP status follows from the model."""

    def __init__(self, code: str, message: str) -> None:
        """Keep both; the code comes without the word Exception."""
        super().__init__(message)
        self.code = f"{code}Exception"
        self.message = message


def bad_value(parameter: str, because: str) -> ServiceError:
    """Refuse the value of a parameter in the service's own words."""
    return ServiceError("InvalidParameterValue", f"The value supplied for parameter '{parameter}' is not valid. {because}")


def bad_combination(parameter: str, because: str) -> ServiceError:
    """Refuse parameters that do not fit together; the same words under another name."""
    return ServiceError("InvalidParameterCombination", f"The value supplied for parameter '{parameter}' is not valid. {because}")


def not_found(arn: str) -> ServiceError:
    """Say that nothing has this ARN."""
    return ServiceError("ResourceNotFound", f"The resource with ARN '{arn}' does not exist.")
