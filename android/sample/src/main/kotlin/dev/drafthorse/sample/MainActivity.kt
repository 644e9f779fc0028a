package dev.drafthorse.sample

import android.app.Application
import android.os.Bundle
import androidx.activity.ComponentActivity
import androidx.activity.compose.setContent
import androidx.activity.enableEdgeToEdge
import androidx.activity.viewModels
import androidx.compose.foundation.layout.safeDrawingPadding
import androidx.compose.material3.MaterialTheme
import androidx.compose.runtime.collectAsState
import androidx.compose.runtime.getValue
import androidx.compose.ui.Modifier
import androidx.lifecycle.AndroidViewModel
import androidx.lifecycle.viewModelScope
import dev.drafthorse.android.AndroidEngine
import dev.drafthorse.android.MemoryAdvice
import dev.drafthorse.android.PackSource
import dev.drafthorse.sample.chat.ChatModel
import dev.drafthorse.sample.chat.ChatScreen

/** Shows [ChatScreen] over the demo pack, which travels in the app's assets. */
class MainActivity : ComponentActivity() {
    private val holder: ChatHolder by viewModels()

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        enableEdgeToEdge()
        setContent {
            val state by holder.chat.state.collectAsState()
            MaterialTheme {
                ChatScreen(state, holder.chat::send, holder.chat::stop, Modifier.safeDrawingPadding())
            }
        }
    }
}

/** Keeps the engine over rotations, and gives memory back when the system is in need. */
class ChatHolder(application: Application) : AndroidViewModel(application) {
    val chat = ChatModel(viewModelScope) { AndroidEngine.open(application, PackSource.Assets("demo")) }

    private val watch = MemoryAdvice.watch(application) { advice ->
        when (advice) {
            MemoryAdvice.KEEP -> Unit
            MemoryAdvice.CLOSE_IDLE_SESSIONS -> chat.closeIdleSession()
            MemoryAdvice.CLOSE_ENGINE -> chat.closeIdleModel()
        }
    }

    override fun onCleared() {
        watch.close()
        chat.close()
    }
}
