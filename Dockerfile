# syntax=docker/dockerfile:1
# Two stages: `build` makes the locked environment from wheels with checked hashes, `service` is
# what runs: no compiler, no package manager's cache, not root.
#
# Compiled kernels are cached in the image. Their cache key holds the CPU's name and features, so an
# image built on another kind of CPU compiles again at its first start, into /var/lib/clickfold; that
# takes seconds, and /readyz waits for it.

FROM python:3.13-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /opt/clickfold
RUN python -m venv .venv
COPY requirements.lock ./
RUN .venv/bin/python -m pip install --require-hashes --only-binary :all: -r requirements.lock
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY ftrl_core ftrl_core
COPY app app
RUN .venv/bin/python -m pip install --no-build-isolation --no-index --no-deps --editable . \
    && .venv/bin/python -m compileall -q app ftrl_core

FROM python:3.13-slim-bookworm AS service
LABEL org.opencontainers.image.title="clickfold" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --system --uid 65532 --home-dir /var/lib/clickfold --create-home clickfold \
    && mkdir -p /var/lib/clickfold/data /var/lib/clickfold/numba \
    && chown -R clickfold:clickfold /var/lib/clickfold
COPY --from=build /opt/clickfold /opt/clickfold
ENV PATH=/opt/clickfold/.venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    NUMBA_CACHE_DIR=/var/lib/clickfold/numba \
    CLICKFOLD_HOST=0.0.0.0 \
    CLICKFOLD_PORT=8000 \
    CLICKFOLD_DATA_DIR=/var/lib/clickfold/data
USER 65532:65532
WORKDIR /var/lib/clickfold
# Compiles every kernel, and proves that this machine computes the bits replicas must agree on.
RUN ["python", "-c", "import app; from app import ingest; from ftrl_core import warm_up; \
warm_up(); ingest.warm_up()"]
VOLUME ["/var/lib/clickfold/data"]
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; \
u.urlopen('http://127.0.0.1:' + os.environ['CLICKFOLD_PORT'] + '/readyz', timeout=2)"]
STOPSIGNAL SIGTERM
# It listens on every address of the container, so it refuses to start without CLICKFOLD_KEYS.
ENTRYPOINT ["clickfold"]
CMD ["serve"]
