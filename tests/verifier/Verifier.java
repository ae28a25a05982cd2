import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ListConsumerGroupOffsetsOptions;
import org.apache.kafka.clients.admin.ListConsumerGroupOffsetsSpec;
import org.apache.kafka.clients.admin.ListOffsetsOptions;
import org.apache.kafka.clients.admin.ListTopicsOptions;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TransactionState;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.IsolationLevel;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AccessControlEntryFilter;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclBindingFilter;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * What the tests believe: Kafka's own Java clients, asked over standard input and output.
 *
 * A request is a line "ID TAB COMMAND TAB ARGUMENT...", answered by any number of lines "ID TAB row TAB
 * FIELD..." and one "ID TAB ok" or "ID TAB failed TAB REASON". Requests run side by side, so a slow read-back
 * never delays the question whether a transaction is open. Bytes travel as hexadecimal, null as "~".
 *
 * It is also the watchdog: when standard input ends, which happens however the test process dies, it kills
 * every process that it was told to guard.
 */
public final class Verifier {
    private static final HexFormat HEX = HexFormat.of();
    private static final Duration PATIENCE = Duration.ofSeconds(60);

    private final String bootstrap;
    private final Admin admin;
    private final PrintStream out;
    private final Map<Long, ProcessHandle> guarded = new ConcurrentHashMap<>();
    private final Map<String, Follower> followers = new ConcurrentHashMap<>();

    private Verifier(String bootstrap, PrintStream out) {
        this.bootstrap = bootstrap;
        this.out = out;
        this.admin = Admin.create(Map.of("bootstrap.servers", bootstrap, "client.id", "verifier"));
    }

    public static void main(String[] arguments) throws Exception {
        PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        System.setOut(System.err); // a library that prints must not speak into the protocol
        int at = List.of(arguments).indexOf("--bootstrap-server");
        new Verifier(arguments[at + 1], out).serve();
    }

    private void serve() throws IOException {
        ExecutorService pool = Executors.newCachedThreadPool();
        var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] fields = line.split("\t", -1);
            // Guarding is answered in order, so that no process slips past the end of the input.
            if (fields[1].equals("guard") || fields[1].equals("unguard")) {
                answer(fields);
            } else {
                pool.execute(() -> answer(fields));
            }
        }
        guarded.values().forEach(ProcessHandle::destroyForcibly);
        Runtime.getRuntime().halt(0);
    }

    private void answer(String[] fields) {
        String id = fields[0];
        List<String> arguments = List.of(fields).subList(2, fields.length);
        try {
            List<List<Object>> rows = run(fields[1], arguments);
            var text = new StringBuilder();
            for (List<Object> row : rows) {
                text.append(id).append("\trow\t");
                text.append(joined(row)).append('\n');
            }
            write(text.append(id).append("\tok\n"));
        } catch (Throwable failure) {
            Throwable cause = failure instanceof ExecutionException ? failure.getCause() : failure;
            write(new StringBuilder(id + "\tfailed\t" + String.valueOf(cause).replaceAll("[\t\r\n]+", " ") + "\n"));
        }
    }

    private static String joined(List<Object> fields) {
        return fields.stream().map(String::valueOf).collect(Collectors.joining("\t"));
    }

    private void write(CharSequence text) {
        synchronized (out) {
            out.append(text);
            out.flush();
        }
    }

    private List<List<Object>> run(String command, List<String> arguments) throws Exception {
        return switch (command) {
            case "ping" -> List.of();
            case "guard" -> guard(Long.parseLong(arguments.get(0)));
            case "unguard" -> unguard(Long.parseLong(arguments.get(0)));
            case "create" -> create(arguments);
            case "grow" -> grow(arguments.get(0), Integer.parseInt(arguments.get(1)));
            case "truncate" -> truncate(arguments.get(0), Long.parseLong(arguments.get(1)));
            case "ends" -> ends(arguments.get(0));
            case "dump" -> dump(arguments.get(0), arguments.get(1));
            case "send" -> send(arguments.get(0), arguments.subList(1, arguments.size()));
            case "send-dated" -> sendDated(arguments.get(0), Long.parseLong(arguments.get(1)));
            case "committed" -> committed(arguments.get(0), true);
            case "committed-so-far" -> committed(arguments.get(0), false);
            case "commit" -> commit(arguments.get(0), arguments.get(1), Long.parseLong(arguments.get(2)));
            case "forget" -> forget(arguments.get(0), arguments.get(1));
            case "members" -> members(arguments.get(0));
            case "assignor" -> assignor(arguments.get(0));
            case "transactions" -> transactions(arguments.get(0));
            case "ages" -> ages(arguments.get(0));
            case "open" -> open(arguments.get(0));
            case "id" -> topicId(arguments.get(0));
            case "delete" -> delete(arguments.get(0));
            case "configure" -> configure(arguments.get(0), arguments.subList(1, arguments.size()));
            case "leaders" -> leaders(arguments.get(0));
            case "lagging" -> lagging();
            case "coordinator" -> coordinator(arguments.get(0), arguments.get(1));
            case "controller" -> controller();
            case "deny" -> deny(arguments.get(0), arguments.get(1), arguments.get(2));
            case "grant" -> grant(arguments.get(0), arguments.get(1));
            case "hijack" -> hijack(arguments.get(0));
            case "follow" -> follow(arguments.get(0));
            case "followed-so-far" -> List.of(List.of(followers.get(arguments.get(0)).soFar()));
            case "followed" -> followed(arguments.get(0));
            case "unfollow" -> unfollow(arguments.get(0));
            default -> throw new IllegalArgumentException("no such command: " + command);
        };
    }

    private List<List<Object>> guard(long pid) {
        ProcessHandle.of(pid).ifPresent(process -> guarded.put(pid, process));
        return List.of();
    }

    private List<List<Object>> unguard(long pid) {
        guarded.remove(pid);
        return List.of();
    }

    /** TOPIC PARTITIONS KEY=VALUE... */
    private List<List<Object>> create(List<String> arguments) throws Exception {
        Map<String, String> settings = new HashMap<>();
        for (String setting : arguments.subList(2, arguments.size())) {
            settings.put(setting.split("=", 2)[0], setting.split("=", 2)[1]);
        }
        int partitions = Integer.parseInt(arguments.get(1));
        var topic = new NewTopic(arguments.get(0), Optional.of(partitions), Optional.empty()).configs(settings);
        admin.createTopics(List.of(topic)).all().get();
        return awaitPartitions(arguments.get(0), partitions);
    }

    private List<List<Object>> grow(String topic, int partitions) throws Exception {
        admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(partitions))).all().get();
        return awaitPartitions(topic, partitions);
    }

    private List<List<Object>> awaitPartitions(String topic, int count) throws Exception {
        long deadline = System.nanoTime() + PATIENCE.toNanos();
        while (System.nanoTime() < deadline) {
            try {
                var partitions = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions();
                if (partitions.size() == count && partitions.stream().allMatch(p -> p.leader() != null)) {
                    return List.of();
                }
            } catch (ExecutionException notYetKnown) {
                // Metadata of a new topic reaches the nodes one after another.
            }
            Thread.sleep(20);
        }
        throw new IllegalStateException(topic + " did not get " + count + " partitions with leaders");
    }

    /** Deletes the records before an offset, in every partition. */
    private List<List<Object>> truncate(String topic, long offset) throws Exception {
        Map<TopicPartition, RecordsToDelete> cuts = new HashMap<>();
        for (TopicPartition partition : partitions(topic)) {
            cuts.put(partition, RecordsToDelete.beforeOffset(offset));
        }
        admin.deleteRecords(cuts).all().get();
        return List.of();
    }

    private List<TopicPartition> partitions(String topic) throws Exception {
        int count = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().size();
        return IntStream.range(0, count).mapToObj(p -> new TopicPartition(topic, p)).toList();
    }

    private Map<TopicPartition, Long> offsets(List<TopicPartition> partitions, OffsetSpec spec, IsolationLevel level)
            throws Exception {
        Map<TopicPartition, OffsetSpec> asked = new HashMap<>();
        partitions.forEach(partition -> asked.put(partition, spec));
        Map<TopicPartition, Long> answer = new HashMap<>();
        admin.listOffsets(asked, new ListOffsetsOptions(level)).all().get()
                .forEach((partition, info) -> answer.put(partition, info.offset()));
        return answer;
    }

    /** Rows: partition, log start, last stable offset, high watermark. */
    private List<List<Object>> ends(String topic) throws Exception {
        List<TopicPartition> partitions = partitions(topic);
        var start = offsets(partitions, OffsetSpec.earliest(), IsolationLevel.READ_UNCOMMITTED);
        var stable = offsets(partitions, OffsetSpec.latest(), IsolationLevel.READ_COMMITTED);
        var high = offsets(partitions, OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED);
        List<List<Object>> rows = new ArrayList<>();
        for (TopicPartition p : partitions) {
            rows.add(List.of(p.partition(), start.get(p), stable.get(p), high.get(p)));
        }
        return rows;
    }

    /** TOPIC ISOLATION; every record up to the end at the time of the call. */
    private List<List<Object>> dump(String topic, String isolation) throws Exception {
        var level = isolation.equals("read_committed") ? IsolationLevel.READ_COMMITTED : IsolationLevel.READ_UNCOMMITTED;
        List<TopicPartition> partitions = partitions(topic);
        Map<TopicPartition, Long> ends = offsets(partitions, OffsetSpec.latest(), level);
        Map<String, Object> settings = Map.of("bootstrap.servers", bootstrap, "isolation.level", isolation,
                "enable.auto.commit", "false", "auto.offset.reset", "none", "max.poll.records", "10000");
        List<List<Object>> rows = new ArrayList<>();
        var bytes = new ByteArrayDeserializer();
        try (var consumer = new KafkaConsumer<byte[], byte[]>(settings, bytes, bytes)) {
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            long deadline = System.nanoTime() + PATIENCE.toNanos();
            while (partitions.stream().anyMatch(p -> consumer.position(p) < ends.get(p))) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                    if (record.offset() < ends.get(new TopicPartition(topic, record.partition()))) {
                        rows.add(row(record));
                    }
                }
                if (System.nanoTime() > deadline) {
                    throw new IllegalStateException("read-back of " + topic + " did not reach " + ends);
                }
            }
        }
        return rows;
    }

    private static List<Object> row(ConsumerRecord<byte[], byte[]> record) {
        List<Object> row = new ArrayList<>(List.of(record.partition(), record.offset(), record.timestamp(),
                hex(record.key()), hex(record.value())));
        for (Header header : record.headers()) {
            row.add(hex(header.key().getBytes(StandardCharsets.UTF_8)) + "=" + hex(header.value()));
        }
        return row;
    }

    private static String hex(byte[] bytes) {
        return bytes == null ? "~" : HEX.formatHex(bytes);
    }

    /** Sends each key as a record, with Java's default partitioner. Rows: key, partition. */
    private List<List<Object>> send(String topic, List<String> keys) throws Exception {
        Map<String, Object> settings = Map.of("bootstrap.servers", bootstrap, "acks", "all");
        var bytes = new ByteArraySerializer();
        List<List<Object>> rows = new ArrayList<>();
        try (var producer = new KafkaProducer<byte[], byte[]>(settings, bytes, bytes)) {
            Map<String, java.util.concurrent.Future<RecordMetadata>> sent = new TreeMap<>();
            for (String key : keys) {
                sent.put(key, producer.send(new ProducerRecord<>(topic, HEX.parseHex(key), HEX.parseHex(key))));
            }
            producer.flush();
            for (var entry : sent.entrySet()) {
                rows.add(List.of(entry.getKey(), entry.getValue().get().partition()));
            }
        }
        return rows;
    }

    private List<List<Object>> sendDated(String topic, long timestamp) throws Exception {
        Map<String, Object> settings = Map.of("bootstrap.servers", bootstrap, "acks", "all");
        var bytes = new ByteArraySerializer();
        try (var producer = new KafkaProducer<byte[], byte[]>(settings, bytes, bytes)) {
            producer.send(new ProducerRecord<byte[], byte[]>(topic, null, timestamp, null, null)).get();
        }
        return List.of();
    }

    /** Rows: topic, partition, offset. Stable: without those that an open transaction may change. */
    private List<List<Object>> committed(String group, boolean stable) throws Exception {
        List<List<Object>> rows = new ArrayList<>();
        var options = new ListConsumerGroupOffsetsOptions().requireStable(stable).timeoutMs(5000);
        var all = Map.of(group, new ListConsumerGroupOffsetsSpec());
        admin.listConsumerGroupOffsets(all, options).partitionsToOffsetAndMetadata(group).get()
                .forEach((p, at) -> rows.add(List.of(p.topic(), p.partition(), at == null ? -1 : at.offset())));
        return rows;
    }

    /** Commits one offset for every partition of a topic. The group must be empty. */
    private List<List<Object>> commit(String group, String topic, long offset) throws Exception {
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
        for (TopicPartition partition : partitions(topic)) {
            offsets.put(partition, new OffsetAndMetadata(offset));
        }
        admin.alterConsumerGroupOffsets(group, offsets).all().get();
        return List.of();
    }

    /** Deletes what a group committed on a topic, as expiry does. The group must be empty. */
    private List<List<Object>> forget(String group, String topic) throws Exception {
        admin.deleteConsumerGroupOffsets(group, Set.copyOf(partitions(topic))).all().get();
        return List.of();
    }

    /** Rows: group state, member id, client id, number of partitions. */
    private List<List<Object>> members(String group) throws Exception {
        var description = admin.describeConsumerGroups(List.of(group)).all().get().get(group);
        List<List<Object>> rows = new ArrayList<>();
        for (var member : description.members()) {
            int count = member.assignment().topicPartitions().size();
            rows.add(List.of(description.groupState(), member.consumerId(), member.clientId(), count));
        }
        return rows;
    }

    /** One row: how the group shares out its partitions. */
    private List<List<Object>> assignor(String group) throws Exception {
        return List.of(List.of(admin.describeConsumerGroups(List.of(group)).all().get().get(group).partitionAssignor()));
    }

    /** Rows: transactional id, state, producer id; of the ids with the given prefix. */
    private List<List<Object>> transactions(String prefix) throws Exception {
        return admin.listTransactions().all().get().stream()
                .filter(listing -> listing.transactionalId().startsWith(prefix))
                .map(listing -> List.<Object>of(listing.transactionalId(), listing.state(), listing.producerId()))
                .toList();
    }

    /** Rows: transactional id, milliseconds since it began; of the ongoing transactions of such ids. */
    private List<List<Object>> ages(String prefix) throws Exception {
        List<String> ids = admin.listTransactions().all().get().stream()
                .filter(listing -> listing.transactionalId().startsWith(prefix))
                .filter(listing -> listing.state() == TransactionState.ONGOING)
                .map(listing -> listing.transactionalId()).toList();
        List<List<Object>> rows = new ArrayList<>();
        admin.describeTransactions(ids).all().get().forEach((id, transaction) -> transaction.transactionStartTimeMs()
                .ifPresent(start -> rows.add(List.of(id, System.currentTimeMillis() - start))));
        return rows;
    }

    /** Rows: partition, producer id; of the transactions that are open in a topic's log. */
    private List<List<Object>> open(String topic) throws Exception {
        List<List<Object>> rows = new ArrayList<>();
        admin.describeProducers(partitions(topic)).all().get().forEach((partition, state) ->
                state.activeProducers().stream()
                        .filter(producer -> producer.currentTransactionStartOffset().isPresent())
                        .forEach(producer -> rows.add(List.of(partition.partition(), producer.producerId()))));
        return rows;
    }

    private List<List<Object>> topicId(String topic) throws Exception {
        return List.of(List.of(admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).topicId()));
    }

    private List<List<Object>> delete(String topic) throws Exception {
        admin.deleteTopics(List.of(topic)).all().get();
        return List.of();
    }

    /** TOPIC KEY=VALUE... */
    private List<List<Object>> configure(String topic, List<String> settings) throws Exception {
        var resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        List<AlterConfigOp> changes = settings.stream().map(setting -> setting.split("=", 2))
                .map(pair -> new AlterConfigOp(new ConfigEntry(pair[0], pair[1]), AlterConfigOp.OpType.SET)).toList();
        admin.incrementalAlterConfigs(Map.of(resource, changes)).all().get();
        return List.of();
    }

    /** Rows: partition, id of the leading node (-1 without one), number of in-sync replicas. */
    private List<List<Object>> leaders(String topic) throws Exception {
        return admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().stream()
                .map(p -> List.<Object>of(p.partition(), p.leader() == null ? -1 : p.leader().id(), p.isr().size()))
                .toList();
    }

    /** Rows: topic, partition; of all topics, where a replica is not in sync. */
    private List<List<Object>> lagging() throws Exception {
        var names = admin.listTopics(new ListTopicsOptions().listInternal(true)).names().get();
        List<List<Object>> rows = new ArrayList<>();
        for (var topic : admin.describeTopics(names).allTopicNames().get().values()) {
            topic.partitions().stream().filter(p -> p.isr().size() < p.replicas().size())
                    .forEach(p -> rows.add(List.of(topic.name(), p.partition())));
        }
        return rows;
    }

    /** "group" or "transaction", and the id. One row: the id of the node that coordinates it. */
    private List<List<Object>> coordinator(String kind, String id) throws Exception {
        int node = kind.equals("group")
                ? admin.describeConsumerGroups(List.of(id)).all().get().get(id).coordinator().id()
                : admin.describeTransactions(List.of(id)).all().get().get(id).coordinatorId();
        return List.of(List.of(node));
    }

    private List<List<Object>> controller() throws Exception {
        return List.of(List.of(admin.describeMetadataQuorum().quorumInfo().get().leaderId()));
    }

    /** KIND NAME OPERATION: takes one right on it from everybody. */
    private List<List<Object>> deny(String kind, String name, String operation) throws Exception {
        var resource = resource(kind, name);
        // A resource with a rule is closed to whom no rule lets in; so the rest is granted.
        var all = new AccessControlEntry("User:*", "*", AclOperation.ALL, AclPermissionType.ALLOW);
        var one = new AccessControlEntry("User:*", "*", AclOperation.fromString(operation), AclPermissionType.DENY);
        admin.createAcls(List.of(new AclBinding(resource, all), new AclBinding(resource, one))).all().get();
        return List.of();
    }

    /** KIND NAME: gives back what was taken. */
    private List<List<Object>> grant(String kind, String name) throws Exception {
        var filter = new AclBindingFilter(resource(kind, name).toFilter(), AccessControlEntryFilter.ANY);
        admin.deleteAcls(List.of(filter)).all().get();
        return List.of();
    }

    private static ResourcePattern resource(String kind, String name) {
        return new ResourcePattern(ResourceType.fromString(kind), name, PatternType.LITERAL);
    }

    /** Takes over a transactional id, as a process does that was given the same one. */
    private List<List<Object>> hijack(String id) {
        Map<String, Object> settings = Map.of("bootstrap.servers", bootstrap, "transactional.id", id);
        var bytes = new ByteArraySerializer();
        try (var producer = new KafkaProducer<byte[], byte[]>(settings, bytes, bytes)) {
            producer.initTransactions();
        }
        return List.of();
    }

    /** Reads a topic from now on, as it grows, until "followed". */
    private List<List<Object>> follow(String topic) {
        followers.put(topic, new Follower(bootstrap, topic));
        return List.of();
    }

    /** Rows as of "dump": all that the follower has read, once it has reached the end as it is now. */
    private List<List<Object>> followed(String topic) throws Exception {
        Map<TopicPartition, Long> ends =
                offsets(partitions(topic), OffsetSpec.latest(), IsolationLevel.READ_COMMITTED);
        return followers.remove(topic).finish(ends);
    }

    /** Ends a follower, whatever it has read. */
    private List<List<Object>> unfollow(String topic) throws Exception {
        Follower follower = followers.remove(topic);
        if (follower != null) {
            follower.end();
        }
        return List.of();
    }

    /** A read_committed consumer that reads while records are written. */
    private static final class Follower {
        private static final Duration LOOK_FOR_PARTITIONS = Duration.ofSeconds(1);

        private final Map<String, Object> settings;
        private final String topic;
        /** Joined, for a list of fields takes many times the memory. */
        private final List<Object> rows = new ArrayList<>();
        private final Map<TopicPartition, Long> positions = new HashMap<>();
        private final Thread thread = new Thread(this::run, "follower");
        private volatile Throwable failure;
        private volatile boolean stop;

        Follower(String bootstrap, String topic) {
            this.settings = Map.of("bootstrap.servers", bootstrap, "isolation.level", "read_committed",
                    "enable.auto.commit", "false", "auto.offset.reset", "earliest", "max.poll.records", "10000",
                    "metadata.max.age.ms", "1000"); // partitions that are added are followed too
            this.topic = topic;
            thread.setDaemon(true);
            thread.start();
        }

        private void run() {
            var bytes = new ByteArrayDeserializer();
            try (var consumer = new KafkaConsumer<byte[], byte[]>(settings, bytes, bytes)) {
                long look = System.nanoTime();
                while (!stop) {
                    if (System.nanoTime() >= look) {
                        look = System.nanoTime() + LOOK_FOR_PARTITIONS.toNanos();
                        assign(consumer);
                    }
                    if (consumer.assignment().isEmpty()) {
                        look = System.nanoTime(); // not every node knows a new topic at once
                        Thread.sleep(50);
                        continue;
                    }
                    var polled = consumer.poll(Duration.ofMillis(100));
                    synchronized (rows) {
                        polled.forEach(record -> rows.add(joined(row(record))));
                        consumer.assignment().forEach(p -> positions.put(p, consumer.position(p)));
                    }
                }
            } catch (Throwable failed) {
                failure = failed;
            }
        }

        private void assign(KafkaConsumer<byte[], byte[]> consumer) {
            List<TopicPartition> found = consumer.partitionsFor(topic).stream()
                    .map(p -> new TopicPartition(topic, p.partition())).toList();
            if (!consumer.assignment().containsAll(found)) {
                List<TopicPartition> fresh =
                        found.stream().filter(p -> !consumer.assignment().contains(p)).toList();
                consumer.assign(found);
                consumer.seekToBeginning(fresh);
            }
        }

        int soFar() {
            synchronized (rows) {
                return rows.size();
            }
        }

        void end() throws InterruptedException {
            stop = true;
            thread.join();
        }

        List<List<Object>> finish(Map<TopicPartition, Long> ends) throws Exception {
            long deadline = System.nanoTime() + PATIENCE.toNanos();
            while (failure == null && System.nanoTime() < deadline) {
                synchronized (rows) {
                    if (ends.entrySet().stream().allMatch(e -> positions.getOrDefault(e.getKey(), 0L) >= e.getValue())) {
                        break;
                    }
                }
                Thread.sleep(20);
            }
            end();
            if (failure != null) {
                throw new IllegalStateException("the concurrent reader of " + topic + " failed: " + failure, failure);
            }
            synchronized (rows) {
                return rows.stream().map(List::of).toList();
            }
        }
    }
}
