/*
 * What a streamed token costs at the border: uniffi's Kotlin over JNA against a direct call through JNI. Both pull the
 * same made-up rounds. `cargo xtask border` runs it; docs/adr/0006 has the result.
 */

import dev.drafthorse.ffi.Generation;
import dev.drafthorse.ffi.GenerationEvent;
import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.lang.reflect.Method;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

public final class Border {
    static native long begin(long rounds, int tokens);

    static native byte[] next(long handle);

    static native void end(long handle);

    record Token(int id, boolean drafted, int textEnd) {}

    record Event(String text, List<Token> tokens) {}

    /** A phone's step of a small model: what the border must stay small against. */
    static final double STEP_NS = 5_000_000;

    static final int REPEATS = 7;

    /** One way to pull a round of made-up tokens; returns how many characters it had, or -1 at the end. */
    interface Pull extends AutoCloseable {
        int next() throws Exception;
    }

    interface Path {
        Pull begin(long rounds, int tokens) throws Exception;
    }

    public static void main(String[] arguments) throws Exception {
        System.load(arguments[0]);
        System.out.println("microseconds of the calling thread's processor time per token, median of " + REPEATS
                + " (least, most); share of a 5 ms step; wall time");
        for (int tokens : new int[] {1, 4}) {
            measure("as fast as it goes", 20_000, tokens, 0);
            measure("a round every 5 ms", 400, tokens, 5);
        }
    }

    static void measure(String pace, int rounds, int tokens, int pauseMs) throws Exception {
        double[][] uniffi = new double[2][REPEATS];
        double[][] direct = new double[2][REPEATS];
        for (int repeat = -1; repeat < REPEATS; repeat++) {
            double[] one = run(Border::overUniffi, rounds, tokens, pauseMs);
            double[] other = run(Border::overJni, rounds, tokens, pauseMs);
            for (int clock = 0; repeat >= 0 && clock < 2; clock++) {
                uniffi[clock][repeat] = one[clock];
                direct[clock][repeat] = other[clock];
            }
        }
        print("uniffi over JNA", pace, tokens, uniffi);
        print("direct over JNI", pace, tokens, direct);
    }

    /** Nanoseconds per token: processor time, wall time. */
    static double[] run(Path path, int rounds, int tokens, int pauseMs) throws Exception {
        ThreadMXBean clocks = ManagementFactory.getThreadMXBean();
        long chars = 0;
        long busy = 0;
        long wall = 0;
        try (Pull pull = path.begin(rounds, tokens)) {
            for (int round = 0; round < rounds; round++) {
                if (pauseMs > 0) {
                    Thread.sleep(pauseMs);
                }
                long begun = System.nanoTime();
                long begunBusy = clocks.getCurrentThreadCpuTime();
                chars += pull.next();
                busy += clocks.getCurrentThreadCpuTime() - begunBusy;
                wall += System.nanoTime() - begun;
            }
        }
        if (chars != 4L * rounds * tokens) {
            throw new IllegalStateException("text was lost: " + chars);
        }
        double all = (double) rounds * tokens;
        return new double[] {busy / all, wall / all};
    }

    static Pull overUniffi(long rounds, int tokens) throws Exception {
        Generation generation = (Generation) measureBorder().invoke(null, rounds, tokens);
        return new Pull() {
            public int next() throws Exception {
                GenerationEvent event = generation.next();
                return event == null ? -1 : ((GenerationEvent.Tokens) event).getText().length();
            }

            public void close() {
                generation.close();
            }
        };
    }

    static Pull overJni(long rounds, int tokens) {
        long handle = begin(rounds, tokens);
        return new Pull() {
            public int next() {
                byte[] bytes = Border.next(handle);
                return bytes == null ? -1 : read(bytes).text().length();
            }

            public void close() {
                end(handle);
            }
        };
    }

    /** Builds the same objects as the generated Kotlin does. */
    static Event read(byte[] bytes) {
        ByteBuffer buffer = ByteBuffer.wrap(bytes);
        byte[] text = new byte[buffer.getInt()];
        buffer.get(text);
        List<Token> tokens = new ArrayList<>();
        while (buffer.hasRemaining()) {
            tokens.add(new Token(buffer.getInt(), buffer.get() != 0, buffer.getInt()));
        }
        return new Event(new String(text, StandardCharsets.UTF_8), tokens);
    }

    /** Kotlin adds a suffix to the name, because of its unsigned numbers. */
    static Method measureBorder() throws Exception {
        for (Method method : Class.forName("dev.drafthorse.ffi.DrafthorseKt").getMethods()) {
            if (method.getName().startsWith("measureBorder")) {
                return method;
            }
        }
        throw new IllegalStateException("the generated Kotlin has no measureBorder");
    }

    static void print(String path, String pace, int tokens, double[][] nanos) {
        Arrays.sort(nanos[0]);
        Arrays.sort(nanos[1]);
        double median = nanos[0][REPEATS / 2];
        System.out.printf(
                "%s, %s, %d per round: %.1f (%.1f, %.1f); %.3f %%; wall %.1f%n",
                path, pace, tokens, median / 1e3, nanos[0][0] / 1e3, nanos[0][REPEATS - 1] / 1e3,
                100 * median / STEP_NS, nanos[1][REPEATS / 2] / 1e3);
    }
}
