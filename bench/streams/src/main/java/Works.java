import com.fasterxml.jackson.annotation.JsonPropertyOrder;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.ObjectWriter;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.concurrent.atomic.LongAdder;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.processor.api.FixedKeyProcessor;
import org.apache.kafka.streams.processor.api.FixedKeyProcessorContext;
import org.apache.kafka.streams.processor.api.FixedKeyRecord;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/** What becomes of a record: the same, byte for byte, as in the loop and in the transforms. */
final class Works {
  private static final byte[] NEEDLE = "7,\"user\"".getBytes(StandardCharsets.UTF_8);
  private static final String STORE = "balance";

  private Works() {}

  static Topology topology(String work, String input, List<String> outputs, LongAdder seen) {
    var builder = new StreamsBuilder();
    if (work.equals("state")) {
      builder.addStateStore(
          Stores.keyValueStoreBuilder(
              Stores.persistentKeyValueStore(STORE), Serdes.ByteArray(), Serdes.ByteArray()));
    }
    KStream<byte[], byte[]> records =
        builder.<byte[], byte[]>stream(input).peek((key, value) -> seen.increment());
    var made =
        switch (work) {
          case "identity", "fan-out" -> records;
          case "filter" -> records.filter((key, value) -> contains(value));
          case "json" -> records.mapValues(new Prices()::price).filter((key, value) -> value != null);
          case "state" -> records.processValues(Balance::new, STORE);
          default -> throw new IllegalArgumentException("no work " + work);
        };
    outputs.forEach(made::to);
    return builder.build();
  }

  private static boolean contains(byte[] value) {
    outer:
    for (int at = 0; at + NEEDLE.length <= value.length; at++) {
      for (int i = 0; i < NEEDLE.length; i++) {
        if (value[at + i] != NEEDLE[i]) {
          continue outer;
        }
      }
      return true;
    }
    return false;
  }

  /** An order as the loader writes it; amounts in cents. */
  static final class Order {
    public long order;
    public String user;
    public long amount;
    public String currency;
    public String note;
  }

  @JsonPropertyOrder({"order", "user", "amount", "total", "currency", "note"})
  static final class Priced {
    public long order;
    public String user;
    public long amount;
    public long total;
    public String currency;
    public String note;
  }

  /** Drops a fifth, adds the tax to the rest. */
  private static final class Prices {
    private final ObjectReader reader = new ObjectMapper().readerFor(Order.class);
    private final ObjectWriter writer = new ObjectMapper().writerFor(Priced.class);

    byte[] price(byte[] value) {
      try {
        Order order = reader.readValue(value);
        if (order.order % 5 == 0) {
          return null;
        }
        var priced = new Priced();
        priced.order = order.order;
        priced.user = order.user;
        priced.amount = order.amount;
        priced.total = order.amount + order.amount / 5;
        priced.currency = order.currency;
        priced.note = order.note;
        return writer.writeValueAsBytes(priced);
      } catch (IOException malformed) {
        throw new UncheckedIOException(malformed);
      }
    }
  }

  static final class Account {
    public long balance;
    public long payments;
  }

  /** A running balance per key, as `examples/balance` keeps it. */
  private static final class Balance implements FixedKeyProcessor<byte[], byte[], byte[]> {
    private final ObjectReader orders =
        new ObjectMapper()
            .readerFor(Payment.class)
            .without(
                com.fasterxml.jackson.databind.DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES);
    private final ObjectReader reader = new ObjectMapper().readerFor(Account.class);
    private final ObjectWriter writer = new ObjectMapper().writerFor(Account.class);
    private FixedKeyProcessorContext<byte[], byte[]> context;
    private KeyValueStore<byte[], byte[]> store;

    static final class Payment {
      public long amount;
    }

    @Override
    public void init(FixedKeyProcessorContext<byte[], byte[]> context) {
      this.context = context;
      this.store = context.getStateStore(STORE);
    }

    @Override
    public void process(FixedKeyRecord<byte[], byte[]> record) {
      try {
        Payment payment = orders.readValue(record.value());
        byte[] stored = store.get(record.key());
        Account account = stored == null ? new Account() : reader.readValue(stored);
        account.balance += payment.amount;
        account.payments += 1;
        byte[] value = writer.writeValueAsBytes(account);
        store.put(record.key(), value);
        context.forward(record.withValue(value));
      } catch (IOException malformed) {
        throw new UncheckedIOException(malformed);
      }
    }
  }
}
