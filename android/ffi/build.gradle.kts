// The generated border to Rust: what `cargo xtask bindings kotlin` writes, compiled. Apps depend on :sdk or :device.
plugins {
    alias(libs.plugins.kotlin.jvm)
}

val generated = layout.buildDirectory.dir("generated/bindings")

val bindings by tasks.registering(Exec::class) {
    description = "Builds the Rust library for this machine and writes the Kotlin that calls it."
    workingDir = rootDir.parentFile
    commandLine("cargo", "xtask", "bindings", "kotlin", generated.get().asFile.path)
    inputs.files(fileTree("../../bindings/src"), "../../bindings/uniffi.toml")
    outputs.dir(generated)
}

kotlin {
    sourceSets.main { kotlin.srcDir(bindings) }
}

dependencies {
    api(libs.coroutines.core)
    // Android takes JNA as an AAR (:device), a JVM as a JAR (tests of :sdk).
    compileOnly(libs.jna)
}
