plugins {
    alias(libs.plugins.android.library) apply false
    alias(libs.plugins.android.application) apply false
    // The Android plugin compiles Kotlin with the version that stands here.
    alias(libs.plugins.kotlin.jvm) apply false
    alias(libs.plugins.kotlin.compose) apply false
}

subprojects {
    group = "dev.drafthorse"
    version = "0.1.0"
}
