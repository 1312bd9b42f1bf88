# The server of Saccade on the CPU. Build: docker build -t saccade .
# Run:   docker run --rm -p 8000:8000 --stop-timeout 30 -v ./runs/pets/model:/model:ro -v ./token:/run/secrets/saccade-token:ro saccade
FROM python:3.12-slim AS build
WORKDIR /src
RUN python -m venv /opt/saccade
# PyTorch's own index has builds without CUDA, which are a fifth of the size of those on PyPI with their libraries.
RUN /opt/saccade/bin/pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu torch torchvision
COPY pyproject.toml README.md LICENSE ./
COPY saccade ./saccade
RUN /opt/saccade/bin/pip install --no-cache-dir ".[serve]"

FROM python:3.12-slim
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin saccade
COPY --from=build /opt/saccade /opt/saccade
ENV PATH=/opt/saccade/bin:$PATH PYTHONUNBUFFERED=1 HOME=/tmp
USER 10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/ready', timeout=4)"]
ENTRYPOINT ["saccade"]
CMD ["serve", "/model", "--host", "0.0.0.0", "--port", "8000", "--token-file", "/run/secrets/saccade-token", "--log", "json"]
