import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.atomic.LongAdder;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;

/**
 * Kafka Streams, doing the work of the benchmarks until it has seen so many records, or until it is
 * told to end.
 */
public final class StreamsPeer {
  private static final Duration CLOSE_MAX = Duration.ofSeconds(60);

  private StreamsPeer() {}

  public static void main(String[] args) throws Exception {
    Options options = Options.parse(args);
    LongAdder seen = new LongAdder();
    var topology = Works.topology(options.work(), options.input(), options.outputs(), seen);
    var streams = new KafkaStreams(topology, options.properties());
    var failure = new AtomicReference<Throwable>();
    streams.setUncaughtExceptionHandler(
        thrown -> {
          failure.set(thrown);
          return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
    var main = Thread.currentThread();
    Runtime.getRuntime()
        .addShutdownHook(
            new Thread(
                () -> {
                  main.interrupt();
                  streams.close(CLOSE_MAX);
                }));
    streams.start();
    try {
      while (failure.get() == null && (options.records() == 0 || seen.sum() < options.records())) {
        Thread.sleep(5);
      }
    } catch (InterruptedException ended) {
      return;
    }
    // What is open is committed.
    boolean closed = streams.close(CLOSE_MAX);
    if (failure.get() != null) {
      failure.get().printStackTrace();
    }
    System.exit(closed && failure.get() == null ? 0 : 1);
  }

  /** What the command line says. */
  private record Options(
      String bootstrap,
      String applicationId,
      String work,
      String input,
      List<String> outputs,
      String guarantee,
      String threads,
      String folder,
      long records,
      List<String> set) {

    static Options parse(String[] args) {
      String bootstrap = null;
      String applicationId = null;
      String work = "identity";
      String input = null;
      var outputs = new ArrayList<String>();
      String guarantee = StreamsConfig.EXACTLY_ONCE_V2;
      String threads = "2";
      String folder = null;
      long records = 0;
      var set = new ArrayList<String>();
      for (int i = 0; i + 1 < args.length; i += 2) {
        String value = args[i + 1];
        switch (args[i]) {
          case "--bootstrap" -> bootstrap = value;
          case "--application-id" -> applicationId = value;
          case "--work" -> work = value;
          case "--input" -> input = value;
          case "--output" -> outputs.add(value);
          case "--guarantee" -> guarantee = value;
          case "--threads" -> threads = value;
          case "--folder" -> folder = value;
          case "--records" -> records = Long.parseLong(value);
          case "--set" -> set.add(value);
          default -> throw new IllegalArgumentException("no option " + args[i]);
        }
      }
      return new Options(
          bootstrap, applicationId, work, input, outputs, guarantee, threads, folder, records, set);
    }

    Properties properties() {
      var properties = new Properties();
      properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, bootstrap);
      properties.put(StreamsConfig.APPLICATION_ID_CONFIG, applicationId);
      properties.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, guarantee);
      properties.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, threads);
      properties.put(StreamsConfig.STATE_DIR_CONFIG, folder);
      properties.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.ByteArraySerde.class);
      properties.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.ByteArraySerde.class);
      properties.put("auto.offset.reset", "earliest");
      for (String pair : set) {
        int at = pair.indexOf('=');
        properties.put(pair.substring(0, at), pair.substring(at + 1));
      }
      return properties;
    }
  }
}
