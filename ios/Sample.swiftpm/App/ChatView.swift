import DrafthorseAPI
import SwiftUI

/// The conversation, a field to write in, a button that sends or stops, and the speed.
struct ChatView: View {
    let model: ChatModel
    @State private var draft = ""

    var body: some View {
        VStack(spacing: 0) {
            ScrollView {
                LazyVStack(alignment: .leading, spacing: 12) {
                    ForEach(Array(model.messages.enumerated()), id: \.offset) { _, message in
                        bubble(message.content ?? "", isMine: message.role == "user")
                    }
                    if model.isAnswering { bubble(model.answer.isEmpty ? "…" : model.answer, isMine: false) }
                }
                .padding()
            }
            .defaultScrollAnchor(.bottom)
            Text(model.status).font(.footnote).foregroundStyle(.secondary).padding(.bottom, 4)
            HStack {
                TextField("Message", text: $draft, axis: .vertical).textFieldStyle(.roundedBorder).onSubmit(send)
                if model.isAnswering {
                    Button("Stop", systemImage: "stop.fill", action: model.stop)
                } else {
                    Button("Send", systemImage: "arrow.up", action: send).disabled(draft.isEmpty)
                }
            }
            .labelStyle(.iconOnly).buttonStyle(.borderedProminent).padding()
        }
    }

    private func bubble(_ text: String, isMine: Bool) -> some View {
        Text(text)
            .padding(10)
            .background(isMine ? Color.accentColor.opacity(0.2) : Color.secondary.opacity(0.12), in: .rect(cornerRadius: 12))
            .frame(maxWidth: .infinity, alignment: isMine ? .trailing : .leading)
            .textSelection(.enabled)
    }

    private func send() {
        model.send(draft)
        draft = ""
    }
}
