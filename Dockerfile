# The image in which the tests run: `scripts/test-in-docker` builds it and runs it.
#
# io_uring in a container: the default seccomp profile of Docker (25 and later), containerd (2 and later) and podman refuses
# io_uring_setup, io_uring_enter and io_uring_register, with EPERM or ENOSYS. The container needs a profile that allows
# these three; scripts/seccomp.json is the engine's default with just that rule added:
#   docker build --tag ringloop-tests . && docker run --rm --security-opt seccomp=scripts/seccomp.json ringloop-tests
# Neither --privileged nor seccomp=unconfined is needed. The host's kernel counts: 6.1 or later, and
# kernel.io_uring_disabled = 0. Since Linux 6.14 ring memory is charged to the memlock limit: --ulimit memlock=67108864.
FROM docker.io/library/rust:1.95-slim-bookworm

WORKDIR /ringloop
COPY . .

# Everything is downloaded and compiled here, so that the run needs no network.
RUN cargo test --workspace --all-features --locked --no-run
ENV CARGO_NET_OFFLINE=true

CMD ["scripts/check", "test", "doctest"]
