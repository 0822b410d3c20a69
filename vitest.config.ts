import { defineConfig } from "vitest/config";

/** Unit and property tests; integration suites, which need root and real namespaces, are named `*.integration.test.ts`. */
export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    reporters: ["default"],
    pool: "forks",
    testTimeout: 20_000,
  },
});
