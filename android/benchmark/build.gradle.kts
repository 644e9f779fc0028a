// The app that measures a phone; `am instrument` starts it.
plugins {
    alias(libs.plugins.android.application)
}

android {
    namespace = "dev.drafthorse.benchmark"
    compileSdk = 36

    defaultConfig {
        applicationId = "dev.drafthorse.benchmark"
        minSdk = 26
        targetSdk = 36
        versionCode = 1
        versionName = "0.1.0"
    }

    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }

    // Measured as an app ships: optimised, not debuggable, and signed with a key that every machine has.
    buildTypes {
        release {
            isMinifyEnabled = true
            proguardFiles(getDefaultProguardFile("proguard-android-optimize.txt"))
            signingConfig = signingConfigs.getByName("debug")
        }
    }

    // The demo pack, as assets/demo; a lab pushes its own.
    sourceSets.named("main") { assets.srcDir(rootDir.resolve("../tests/packs")) }
    androidResources { noCompress += listOf("onnx", "data") }

    // The tests run the host's library, so `cargo xtask kotlin` runs them, by Maven.
    testOptions.unitTests.all { it.enabled = false }
}

dependencies {
    implementation(project(":device"))
    implementation(libs.serialization.json)
    testImplementation(libs.junit.jupiter)
    testImplementation(libs.schema.validator)
    testRuntimeOnly(libs.junit.launcher)
}
