import com.android.build.api.dsl.ApplicationExtension
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

    // Apps over the demo pack: benchmark, sample.
    plugins.withId("com.android.application") {
        configure<ApplicationExtension> {
            compileSdk = 36

            defaultConfig {
                minSdk = 26
                targetSdk = 36
                versionCode = 1
                versionName = project.version.toString()
            }

            compileOptions {
                sourceCompatibility = JavaVersion.VERSION_17
                targetCompatibility = JavaVersion.VERSION_17
            }

            // As an app ships: optimised and not debuggable; signed with a key that every machine has.
            buildTypes.named("release") {
                isMinifyEnabled = true
                proguardFiles(getDefaultProguardFile("proguard-android-optimize.txt"))
                signingConfig = signingConfigs.getByName("debug")
            }

            // The demo pack, as assets/demo.
            sourceSets.named("main") { assets.srcDir(rootDir.resolve("../tests/packs")) }
            androidResources { noCompress += listOf("onnx", "data") }
        }
    }
}
