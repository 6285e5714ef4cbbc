# The locked versions of requirements/ on a plain Python; CUDA comes with the torch wheels, so
# `docker run --gpus all` is enough. No atlas and no weights inside: their licences are not ours.
ARG BASE_IMAGE=python:3.11-slim
FROM ${BASE_IMAGE}

SHELL ["/bin/bash", "-o", "pipefail", "-c"]

ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONUNBUFFERED=1 \
    PATH=/opt/fmmtc/bin:$PATH

COPY pyproject.toml README.md LICENSE /src/
COPY requirements /src/requirements
COPY boilerplate /src/boilerplate
COPY fmmtc_bidsapp /src/fmmtc_bidsapp
RUN python3 -m venv /opt/fmmtc \
 && /opt/fmmtc/bin/pip install --constraint /src/requirements/constraints.txt /src

# Any --user finds a home and a cache it may write to.
RUN mkdir -p /home/fmmtc /cache && chmod 1777 /home/fmmtc /cache
ENV HOME=/home/fmmtc \
    FMMTC_CACHE_DIR=/cache \
    TEMPLATEFLOW_HOME=/cache/templateflow \
    MPLCONFIGDIR=/tmp/matplotlib \
    FMMTC_CONTAINER=fmmtc_bidsapp
WORKDIR /tmp
USER 1000

ENTRYPOINT ["fmmtc"]
