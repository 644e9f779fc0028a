// One screen: streaming, stop, tokens per second.
plugins {
    alias(libs.plugins.android.application)
    alias(libs.plugins.kotlin.compose)
}

android {
    namespace = "dev.drafthorse.sample"
    defaultConfig.applicationId = "dev.drafthorse.sample"

    buildFeatures.compose = true

    // One APK per processor: each carries only its own libraries. An app without splits names them in `ndk.abiFilters`.
    splits.abi {
        isEnable = true
        reset()
        include("arm64-v8a", "x86_64")
        isUniversalApk = false
    }

    buildTypes.named("release") { isShrinkResources = true }
}

dependencies {
    implementation(project(":device"))
    implementation(libs.activity.compose)
    implementation(platform(libs.compose.bom))
    implementation(libs.compose.material3)
    implementation(libs.lifecycle.viewmodel)
    testImplementation(project(":fake"))
    testImplementation(libs.coroutines.test)
    testImplementation(libs.junit.jupiter)
    testRuntimeOnly(libs.junit.launcher)
}
