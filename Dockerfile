# syntax=docker/dockerfile:1
#
# Two images from one checkout:
#
#   docker build --target control -t evolver .                control plane, without torch
#   docker build --target worker -t evolver-worker .          workers, on NVIDIA GPUs or CPU; several GB
#   docker build --target worker -t evolver-worker:cpu \
#     --build-arg PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu .          the same, CPU only
#
# Both are built on python:slim. torch's own wheels bring the CUDA libraries that they were built with,
# and the driver comes from the host (NVIDIA Container Toolkit), so a CUDA base image would only hold a
# second copy. The versions are those of constraints.txt, which the tests run with.

ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim AS base
ENV PATH=/opt/evolver/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# A fixed number, so that the owner of volumes can be set from outside, and that "non-root" can be checked.
RUN groupadd --gid 10001 evolver \
    && useradd --uid 10001 --gid 10001 --create-home evolver \
    && install --directory --owner evolver --group evolver /checkpoints /data /work


# The requirements apart from the sources: a change of the code does not install torch again.
FROM base AS requirements
WORKDIR /build
COPY pyproject.toml constraints.txt ./
RUN python - <<'SCRIPT'
import pathlib
import tomllib

project = tomllib.loads(pathlib.Path("pyproject.toml").read_text())["project"]
for name, wanted in {
    "control.txt": project["dependencies"],
    "worker.txt": project["optional-dependencies"]["worker"],
}.items():
    pathlib.Path(name).write_text("\n".join(wanted) + "\n")
SCRIPT


FROM requirements AS wheel
COPY README.md LICENSE ./
COPY evolver evolver
COPY workers workers
COPY migrations migrations
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .


FROM requirements AS control-packages
RUN python -m venv /opt/evolver \
    && pip install --no-cache-dir --constraint constraints.txt --requirement control.txt


FROM control-packages AS worker-packages
ARG PIP_EXTRA_INDEX_URL
RUN pip install --no-cache-dir --constraint constraints.txt --requirement worker.txt


FROM base AS control
COPY --from=control-packages /opt/evolver /opt/evolver
RUN --mount=from=wheel,source=/wheels,target=/wheels pip install --no-cache-dir --no-deps /wheels/*.whl
USER 10001:10001
WORKDIR /work
# Whether this container reaches the database, and finds it at its own revision.
HEALTHCHECK --interval=60s --timeout=15s --start-period=30s --retries=3 CMD ["evolver", "db", "check"]
ENTRYPOINT ["evolver"]
CMD ["scheduler"]


FROM base AS worker
# "utility" is NVML, from which a worker learns the names of its GPUs.
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=worker-packages /opt/evolver /opt/evolver
RUN --mount=from=wheel,source=/wheels,target=/wheels pip install --no-cache-dir --no-deps /wheels/*.whl
USER 10001:10001
WORKDIR /work
# No HEALTHCHECK: a worker trains on through an outage of the database, and must not be restarted for it.
ENTRYPOINT ["evolver"]
CMD ["worker", "--data-dir", "/data", "--checkpoint-url", "/checkpoints"]
