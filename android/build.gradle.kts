import org.jetbrains.kotlin.gradle.dsl.KotlinJvmProjectExtension

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

    tasks.withType<Test>().configureEach { useJUnitPlatform() }

    // Libraries without Android classes: ffi, sdk, fake.
    plugins.withId("org.jetbrains.kotlin.jvm") {
        val artifact = "drafthorse-${project.name}"
        apply(plugin = "java-library")
        apply(plugin = "maven-publish")
        configure<KotlinJvmProjectExtension> { jvmToolchain(17) }
        configure<JavaPluginExtension> { withSourcesJar() }
        configure<PublishingExtension> {
            publications.create<MavenPublication>("maven") {
                artifactId = artifact
                from(components["java"])
            }
        }
    }
}
