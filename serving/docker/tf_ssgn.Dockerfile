# Our own server, with gRPC, REST, search with options and metrics.
#   docker build -f serving/docker/tf_ssgn.Dockerfile -t tf_ssgn .
#   docker run --read-only --tmpfs /tmp -p 8500:8500 -p 8501:8501 -v "$PWD/data:/data:ro" tf_ssgn
# A gallery in Milvus: --build-arg EXTRAS=serve,web,milvus, and --gallery milvus://HOST/NAME in place of the folder.
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
ARG EXTRAS=serve,web
COPY setup.cfg pyproject.toml README.md LICENSE ./
COPY tf_ssgn ./tf_ssgn
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir ".[$EXTRAS]"

FROM python:3.11-slim-bookworm
COPY --from=build /venv /venv
RUN useradd --uid 10001 --no-create-home server
USER 10001
# The converted model is kept below it; a read-only root needs a tmpfs there.
ENV PATH=/venv/bin:$PATH TF_SSGN_CACHE=/tmp/tf_ssgn TF_CPP_MIN_LOG_LEVEL=2 PYTHONUNBUFFERED=1
EXPOSE 8500 8501
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=120s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8501/readyz', timeout=2)"]
ENTRYPOINT ["python", "-m", "tf_ssgn.serve"]
# --insecure: inside a container the network before it is the operator's; see README.md for TLS.
CMD ["--model", "/data/model", "--gallery", "/data/gallery", "--host", "0.0.0.0", "--insecure", "--log-requests"]
