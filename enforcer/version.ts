/** Owns the enforcer's release number. Kept equal to package.json's by a test. */
export const enforcerVersion = "0.1.0";
