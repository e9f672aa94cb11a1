"""What drivers of clients share."""


def refused(kind, call, *arguments, **named):
    try:
        call(*arguments, **named)
    except kind as error:
        return error
    raise AssertionError(f"{arguments} {named} was not refused")
