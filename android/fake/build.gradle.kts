// FakeLanguageModel, for tests of apps: testImplementation("dev.drafthorse:drafthorse-fake:VERSION").
plugins {
    alias(libs.plugins.kotlin.jvm)
    `java-library`
    `maven-publish`
}

kotlin {
    jvmToolchain(17)
    explicitApi()
    compilerOptions.allWarningsAsErrors = true
}

java { withSourcesJar() }

dependencies {
    api(project(":sdk"))
    testImplementation(libs.abi.tools)
    testImplementation(libs.coroutines.test)
    testImplementation(libs.junit.jupiter)
    testRuntimeOnly(libs.junit.launcher)
}

tasks.test { useJUnitPlatform() }

publishing {
    publications.create<MavenPublication>("maven") {
        artifactId = "drafthorse-fake"
        from(components["java"])
    }
}
