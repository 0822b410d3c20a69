import { defineConfig } from "vitest/config";

const integration = "test/**/*.integration.test.ts";

/** Unit and property tests in parallel; integration tests, which need root, real namespaces and the built binaries, one after the other. */
export default defineConfig({
  test: {
    pool: "forks",
    projects: [
      {
        test: { name: "unit", include: ["test/**/*.test.ts"], exclude: [integration], testTimeout: 20_000 },
      },
      {
        test: {
          name: "integration",
          include: [integration],
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
    ],
  },
});
