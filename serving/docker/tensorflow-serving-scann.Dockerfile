# TensorFlow Serving with ScaNN's ops linked in, for NAME/search_scann. There is no flag that loads an op library, so the
# server is built from source: several hours and about 60 GB. See README.md: this one was not built by us.
#   docker build -f serving/docker/tensorflow-serving-scann.Dockerfile -t tf_ssgn_tfs_scann .
FROM tensorflow/serving:2.19.1-devel AS build
ARG SCANN_COMMIT=master
WORKDIR /tensorflow-serving
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN git init /scann && git -C /scann fetch --depth 1 https://github.com/google-research/google-research.git "$SCANN_COMMIT" \
    && git -C /scann checkout FETCH_HEAD -- scann
# The op sources go below the serving tree, and into the list of ops that are linked whole.
COPY serving/docker/scann_ops.BUILD /tmp/scann_ops.BUILD
RUN cp -r /scann/scann/scann ./scann && cp /tmp/scann_ops.BUILD scann/tensorflow_ops.BUILD \
    && cat scann/tensorflow_ops.BUILD >> scann/scann_ops/cc/BUILD.bazel \
    && sed -i 's|^SUPPORTED_TENSORFLOW_OPS = if_v2|SCANN_OPS = ["//scann/scann_ops/cc:scann_serving_ops"]\n&|' \
        tensorflow_serving/model_servers/BUILD \
    && sed -i 's|    + if_not_v2(\[|    + SCANN_OPS&|' tensorflow_serving/model_servers/BUILD \
    && bazel build --color=no --curses=no --config=release --copt=-mavx2 --copt=-mfma \
        tensorflow_serving/model_servers:tensorflow_model_server \
    && cp bazel-bin/tensorflow_serving/model_servers/tensorflow_model_server /usr/local/bin/

FROM tensorflow/serving:2.19.1
COPY --from=build /usr/local/bin/tensorflow_model_server /usr/bin/tensorflow_model_server
COPY serving/config /config
RUN useradd --uid 10001 --no-create-home server
USER 10001
EXPOSE 8500 8501
ENTRYPOINT ["/usr/bin/tensorflow_model_server"]
CMD ["--port=8500", "--rest_api_port=8501", \
     "--model_config_file=/config/models-scann.config", "--enable_batching", \
     "--batching_parameters_file=/config/batching.config", "--monitoring_config_file=/config/monitoring.config", \
     "--grpc_channel_arguments=grpc.max_receive_message_length=33554432", "--num_load_threads=1"]
