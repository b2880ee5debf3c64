# Two stages: one builds the daemon, the other holds only the binary and its libraries.
# SPDX-License-Identifier: Apache-2.0
#
#   docker build -t forecastd .
#   docker run -d --read-only --cap-drop=all -p 127.0.0.1:7380:7380 \
#       -v forecastd:/var/lib/forecastd forecastd
#
# Inside a container loopback cannot be reached from outside, so the daemon listens on all
# addresses, which it does only with tokens or --insecure. Publish the port on 127.0.0.1, as above,
# or mount a file of tokens and set FORECASTD_AUTH_TOKENS; then --insecure changes nothing any more.
#
# `make image` builds it with podman, `make test-image` runs it. It is made for amd64 and arm64:
# buildx with --platform linux/amd64,linux/arm64 builds both. The tests build and run amd64 only;
# on arm64 the kernels are those of the base instruction set.

ARG BASE=debian:12-slim

# Packages are the newest of Debian 12, or those of APT_SOURCES: lines of a sources.list in place
# of the base's own, of one day of an archive for instance. BASE may be a digest.
FROM ${BASE} AS base
ARG APT_SOURCES=
RUN [ -z "${APT_SOURCES}" ] || { rm -f /etc/apt/sources.list.d/* \
    && echo 'Acquire::Check-Valid-Until "false";' >/etc/apt/apt.conf.d/99pinned \
    && printf '%s\n' "${APT_SOURCES}" >/etc/apt/sources.list; }

FROM base AS build
WORKDIR /src
COPY deploy/install-deps.sh deploy/
RUN apt-get update -q && sh deploy/install-deps.sh build && apt-get clean
COPY . .
ARG CFLAGS="-O2 -g"
RUN make -j"$(nproc)" CFLAGS="${CFLAGS}" all && strip --strip-unneeded build/forecastd \
    && build/forecastd --version

FROM base
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="forecastd" \
      org.opencontainers.image.description="Readings in by HTTP, probabilistic forecasts out" \
      org.opencontainers.image.documentation="docs/docker.md" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY deploy/install-deps.sh /tmp/install-deps.sh
# OpenBLAS comes with copies of its parts for programs that ask for BLAS or LAPACK by their own
# names. Nothing here does: 8 MB less.
RUN apt-get update -q && sh /tmp/install-deps.sh runtime \
    && rm -f /usr/lib/*/openblas-pthread/libblas.so.3 /usr/lib/*/openblas-pthread/liblapack.so.3 \
    && rm -rf /tmp/install-deps.sh /var/lib/apt/lists/* /var/cache/apt/* /usr/share/man/* \
    && find /usr/share/doc -type f ! -name copyright -delete \
    && mkdir -p /var/lib/forecastd && chown 10001:10001 /var/lib/forecastd
COPY --from=build /src/build/forecastd /usr/local/bin/forecastd
COPY LICENSE api/ui/vendor/uPlot.LICENSE /usr/share/doc/forecastd/

USER 10001:10001
WORKDIR /var/lib/forecastd
VOLUME /var/lib/forecastd
ENV FORECASTD_STORAGE_PATH=/var/lib/forecastd \
    FORECASTD_SERVER_LISTEN=0.0.0.0:7380
EXPOSE 7380
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 \
    CMD ["/usr/local/bin/forecastd", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/forecastd"]
CMD ["serve", "--insecure"]
