package dev.drafthorse

import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.StateFlow
import kotlinx.coroutines.flow.asStateFlow

/** Counts running generations and tells it as an engine's state. */
internal class Activity {
    private val states = MutableStateFlow(EngineState.READY)
    private var generations = 0

    val state: StateFlow<EngineState> = states.asStateFlow()

    @Synchronized
    fun began() = change(+1)

    @Synchronized
    fun ended() = change(-1)

    @Synchronized
    fun close() {
        states.value = EngineState.CLOSED
    }

    private fun change(difference: Int) {
        generations += difference
        if (states.value == EngineState.CLOSED) return
        states.value = if (generations > 0) EngineState.GENERATING else EngineState.READY
    }
}
