"""What drivers of clients share."""

import time


def refused(kind, call, *arguments, **named):
    try:
        call(*arguments, **named)
    except kind as error:
        return error
    raise AssertionError(f"{arguments} {named} was not refused")


def until(status, read):
    for _ in range(500):
        found = read()
        if found.status == status:
            return found
        time.sleep(0.02)
    raise AssertionError(f"{found} did not become {status}")
