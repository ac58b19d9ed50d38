"""What holds for all tests."""

import pytest
from hypothesis import settings

# A property does not hold less on a machine that is busy with something else.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


@pytest.fixture(scope="module")
def one_core():
    """Tiny models gain nothing from a second thread, and lose much where other tests run beside them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trapline.core.cores.usable_cores", lambda: 1)
        yield


@pytest.fixture(scope="module")
def aws():
    """Credentials of this environment that every store of these tests takes; sets more of the environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.delenv("AWS_PROFILE", raising=False)
        yield patch


@pytest.fixture(scope="module")
def moto():
    """The address of a real S3 server."""
    from moto.server import ThreadedMotoServer

    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()
