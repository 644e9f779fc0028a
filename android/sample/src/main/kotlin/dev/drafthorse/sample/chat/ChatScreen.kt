package dev.drafthorse.sample.chat

import androidx.compose.foundation.layout.Arrangement
import androidx.compose.foundation.layout.Column
import androidx.compose.foundation.layout.Row
import androidx.compose.foundation.layout.fillMaxSize
import androidx.compose.foundation.layout.fillMaxWidth
import androidx.compose.foundation.layout.padding
import androidx.compose.foundation.lazy.LazyColumn
import androidx.compose.foundation.lazy.items
import androidx.compose.foundation.lazy.rememberLazyListState
import androidx.compose.material3.Button
import androidx.compose.material3.MaterialTheme
import androidx.compose.material3.OutlinedTextField
import androidx.compose.material3.Surface
import androidx.compose.material3.Text
import androidx.compose.runtime.Composable
import androidx.compose.runtime.LaunchedEffect
import androidx.compose.runtime.getValue
import androidx.compose.runtime.mutableStateOf
import androidx.compose.runtime.remember
import androidx.compose.runtime.setValue
import androidx.compose.ui.Alignment
import androidx.compose.ui.Modifier
import androidx.compose.ui.unit.dp
import dev.drafthorse.Message

/** One screen: the conversation, what is being written, figures, a line to write on. */
@Composable
fun ChatScreen(state: ChatState, onSend: (String) -> Unit, onStop: () -> Unit, modifier: Modifier = Modifier) {
    Surface(modifier.fillMaxSize()) {
        Column(Modifier.padding(16.dp), verticalArrangement = Arrangement.spacedBy(8.dp)) {
            Conversation(state, Modifier.weight(1f).fillMaxWidth())
            Text(state.status, style = MaterialTheme.typography.bodySmall, color = MaterialTheme.colorScheme.outline)
            Entry(state.busy, onSend, onStop)
        }
    }
}

@Composable
private fun Conversation(state: ChatState, modifier: Modifier) {
    val shown = if (state.answer.isEmpty()) state.messages else state.messages + Message.assistant(state.answer)
    val list = rememberLazyListState()
    LaunchedEffect(shown.size, state.answer.length) {
        if (shown.isNotEmpty()) list.scrollToItem(shown.lastIndex, Int.MAX_VALUE / 2)
    }
    LazyColumn(modifier, list, verticalArrangement = Arrangement.spacedBy(8.dp)) {
        items(shown) { Bubble(it) }
    }
}

@Composable
private fun Bubble(message: Message) {
    val fromUser = message.role == "user"
    val colors = MaterialTheme.colorScheme
    Row(Modifier.fillMaxWidth(), horizontalArrangement = if (fromUser) Arrangement.End else Arrangement.Start) {
        Surface(
            color = if (fromUser) colors.primaryContainer else colors.surfaceVariant,
            shape = MaterialTheme.shapes.large,
        ) {
            Text(message.content.orEmpty(), Modifier.padding(horizontal = 16.dp, vertical = 10.dp))
        }
    }
}

@Composable
private fun Entry(busy: Boolean, onSend: (String) -> Unit, onStop: () -> Unit) {
    var text by remember { mutableStateOf("") }
    Row(verticalAlignment = Alignment.CenterVertically, horizontalArrangement = Arrangement.spacedBy(8.dp)) {
        OutlinedTextField(
            value = text,
            onValueChange = { text = it },
            modifier = Modifier.weight(1f),
            placeholder = { Text("Say something") },
        )
        if (busy) {
            Button(onClick = onStop) { Text("Stop") }
        } else {
            Button(
                onClick = {
                    onSend(text)
                    text = ""
                },
                enabled = text.isNotBlank(),
            ) { Text("Send") }
        }
    }
}
