// The AAR: what needs Android classes, the Rust library for each ABI, and the runtime library as a dependency.
plugins {
    alias(libs.plugins.android.library)
    `maven-publish`
}

val abis = listOf("arm64-v8a", "x86_64")

android {
    namespace = "dev.drafthorse.android"
    compileSdk = 36

    defaultConfig {
        minSdk = 26
        testInstrumentationRunner = "androidx.test.runner.AndroidJUnitRunner"
        consumerProguardFiles("consumer-rules.pro")
        ndk.abiFilters += abis
    }

    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }

    sourceSets {
        // `cargo xtask android` puts libdrafthorse_bindings.so there, one folder per ABI.
        named("main") { jniLibs.srcDir(rootDir.resolve("../target/android/jniLibs")) }
        // The demo pack travels inside the instrumented tests.
        named("androidTest") { assets.srcDir(rootDir.resolve("../tests/packs")) }
    }

    androidResources {
        // Weights do not compress, and a stored asset unpacks faster.
        noCompress += listOf("onnx", "data")
    }

    testOptions.unitTests.isReturnDefaultValues = true
    publishing.singleVariant("release") { withSourcesJar() }
}

kotlin {
    explicitApi()
    compilerOptions.allWarningsAsErrors = true
}

val checkLibraries by tasks.registering {
    description = "Fails early where the Rust library is missing for an ABI."
    val folder = rootDir.resolve("../target/android/jniLibs")
    val wanted = abis
    doLast {
        val missing = wanted.filterNot { folder.resolve("$it/libdrafthorse_bindings.so").isFile }
        check(missing.isEmpty()) { "no Rust library for $missing below $folder; run `cargo xtask android`" }
    }
}

tasks.named("preBuild") { dependsOn(checkLibraries) }

dependencies {
    api(project(":sdk"))
    implementation(libs.coroutines.android)
    implementation("${libs.jna.get()}@aar")
    implementation(libs.onnxruntime.android)
    testImplementation(libs.coroutines.test)
    testImplementation(libs.junit.jupiter)
    testRuntimeOnly(libs.junit.launcher)
    androidTestImplementation(libs.androidx.test.runner)
    androidTestImplementation(libs.androidx.test.junit)
    androidTestImplementation(libs.coroutines.test)
}

publishing {
    publications.register<MavenPublication>("release") {
        artifactId = "drafthorse-android"
        afterEvaluate { from(components["release"]) }
    }
}
