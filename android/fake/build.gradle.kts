// FakeLanguageModel, for tests of apps: testImplementation("dev.drafthorse:drafthorse-fake:VERSION").
plugins {
    alias(libs.plugins.kotlin.jvm)
}

kotlin {
    explicitApi()
    compilerOptions.allWarningsAsErrors = true
}

dependencies {
    api(project(":sdk"))
    testImplementation(libs.coroutines.test)
    testImplementation(libs.junit.jupiter)
    testRuntimeOnly(libs.junit.launcher)
}
