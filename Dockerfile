# The locked versions of requirements/ on a plain Python; CUDA comes with the torch wheels, so
# `docker run --gpus all` is enough. No atlas and no weights inside: their licences are not ours.
# Singularity.def takes the same steps, which a test compares. How to use both: docs/containers.md.
ARG BASE_IMAGE=python:3.11-slim

FROM ${BASE_IMAGE} AS builder
ARG VERSION=0.1.0
ARG WITH_TEMPLATES=0
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1
COPY pyproject.toml README.md LICENSE /src/
COPY requirements /src/requirements
COPY boilerplate /src/boilerplate
COPY fmmtc_bidsapp /src/fmmtc_bidsapp
# The base's pip fills an environment that has none. Out again goes what only compiling against torch
# and testing it reads. Nobody but root may write bytecode later, and without it every start is slow.
RUN python3 -m venv --without-pip /opt/fmmtc \
 && python3 -m pip --python /opt/fmmtc/bin/python install --no-compile --constraint /src/requirements/constraints.txt /src \
 && test "$(/opt/fmmtc/bin/fmmtc --version)" = "fmmtc ${VERSION}" \
 && rm -rf /opt/fmmtc/lib/python3*/site-packages/torch/include /opt/fmmtc/lib/python3*/site-packages/torch/test /opt/fmmtc/lib/python3*/site-packages/pandas/tests \
 && find /opt/fmmtc/lib/python3*/site-packages/torch/bin -type f ! -name torch_shm_manager -delete \
 && find /opt/fmmtc -name '*.a' -delete \
 && /opt/fmmtc/bin/python -m compileall -q -j 0 -x py312 --invalidation-mode unchecked-hash /opt/fmmtc/lib
# A folder in it keeps TemplateFlow's client from writing one, which a read-only image refuses.
RUN mkdir -p /cache/templateflow/tpl-MNI152NLin6Asym \
 && if [ "${WITH_TEMPLATES}" = 1 ]; then FMMTC_CACHE_DIR=/cache TEMPLATEFLOW_HOME=/cache/templateflow /opt/fmmtc/bin/fmmtc-tools fetch templates; fi

FROM ${BASE_IMAGE}
ARG VERSION=0.1.0
ARG SOURCE=""
LABEL org.opencontainers.image.title="fmmtc_bidsapp" \
      org.opencontainers.image.description="From fMRIPrep derivatives to a calibrated prediction of who responds to a drug" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.authors="The fmmtc_bidsapp developers" \
      org.opencontainers.image.source="${SOURCE}"
# The base's own library may come without bytecode too.
RUN python3 -m compileall -q -x '/(tests?|site-packages|dist-packages)/' "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
COPY --from=builder /opt/fmmtc /opt/fmmtc
COPY --from=builder /cache /cache
# Any --user finds a home and a cache to write to.
RUN mkdir -p /home/fmmtc \
 && find /cache /home/fmmtc -type d -exec chmod 1777 {} +
ENV PATH=/opt/fmmtc/bin:$PATH \
    HOME=/home/fmmtc \
    MPLCONFIGDIR=/tmp/matplotlib \
    LANG=C.UTF-8 \
    PYTHONUNBUFFERED=1 \
    FMMTC_CACHE_DIR=/cache \
    TEMPLATEFLOW_HOME=/cache/templateflow \
    FMMTC_CONTAINER=fmmtc_bidsapp:${VERSION}
WORKDIR /tmp
USER 1000:1000

ENTRYPOINT ["fmmtc"]
