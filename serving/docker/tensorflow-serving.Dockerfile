# TensorFlow Serving with the exported embedding and exact search: plain TensorFlow ops, so the stock binary runs both.
#   docker build -f serving/docker/tensorflow-serving.Dockerfile -t tf_ssgn_tfs .
#   docker run -p 8500:8500 -p 8501:8501 -v "$PWD/saved_models/s21:/models/s21:ro" tf_ssgn_tfs
FROM tensorflow/serving:2.19.1
COPY serving/config /config
# The image starts as root; its binary needs no more than to read /models and /config.
RUN useradd --uid 10001 --no-create-home server
USER 10001
EXPOSE 8500 8501
ENTRYPOINT ["/usr/bin/tensorflow_model_server"]
# 33554432 is the limit on a message that our own server has.
CMD ["--port=8500", "--rest_api_port=8501", \
     "--model_config_file=/config/models.config", "--model_config_file_poll_wait_seconds=60", \
     "--enable_batching", "--batching_parameters_file=/config/batching.config", \
     "--monitoring_config_file=/config/monitoring.config", \
     "--grpc_channel_arguments=grpc.max_receive_message_length=33554432", \
     "--num_load_threads=1", "--enable_grpc_healthcheck_service"]
