# One image for every service; docker-compose.yml gives each its command.
FROM python:3.11-slim AS builder

# LightFM comes as source only. A base image whose Python is the distribution's lacks the headers.
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends gcc libc6-dev \
 && { test -f "$(python -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" \
      || apt-get install -y -qq --no-install-recommends python3-dev; } \
 && rm -rf /var/lib/apt/lists/*

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_REQUIRE_VIRTUALENV=1
# Its own compiler flags are for the machine that builds (-march=native); the image must run on others.
ENV LIGHTFM_NO_CFLAGS=1
# requirements-spark.lock: the same and Apache Spark with a Java runtime (docs/spark.md).
ARG REQUIREMENTS=requirements-image.lock
COPY requirements.lock requirements-image.lock requirements-spark.lock /build/
# setuptools builds LightFM, so it comes from the lock as well. The big packages' own tests are never imported.
RUN python -m venv /opt/venv && . /opt/venv/bin/activate \
 && sed -n '/^setuptools==/,/# via/p' /build/requirements.lock > /build/setuptools.lock \
 && pip install --quiet --require-hashes --only-binary :all: -r /build/setuptools.lock \
 && pip install --quiet --require-hashes --only-binary :all: --no-binary rectools-lightfm,pyspark \
      --use-pep517 --no-build-isolation --no-compile -r /build/$REQUIREMENTS \
 && python -c 'import lightfm, sklearn, confluent_kafka, asyncpg, psycopg2' \
 && pip uninstall --quiet --yes setuptools pip \
 && find /opt/venv/lib/python3.11/site-packages/pandas /opt/venv/lib/python3.11/site-packages/scipy \
      /opt/venv/lib/python3.11/site-packages/sklearn -type d -name tests -prune -exec rm -rf {} + \
 && python -m compileall -q --invalidation-mode unchecked-hash /opt/venv/lib

# .dockerignore lets only our packages through.
COPY . /app
RUN cd /app \
 && { [ "$REQUIREMENTS" != requirements-spark.lock ] \
      || /opt/venv/bin/python -c 'from trainer.spark.java import OF_IMAGE, write_java_home; write_java_home(OF_IMAGE)'; } \
 && /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /app \
 && rm /app/requirements*.lock


FROM python:3.11-slim

# LightFM is compiled against OpenMP.
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends libgomp1 \
 && rm -rf /var/lib/apt/lists/*

# A new named volume takes over the owner of the folder that it covers.
RUN groupadd --gid 10001 recommender \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin recommender \
 && install -d -o 10001 -g 10001 /var/lib/recommender/models \
      /var/lib/recommender/secrets/database /var/lib/recommender/secrets/signing

COPY --from=builder /opt/venv /opt/venv
COPY --from=builder /app /app

ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MODELS_DIR=/var/lib/recommender/models
WORKDIR /app
USER 10001:10001
CMD ["python", "-m", "api"]
