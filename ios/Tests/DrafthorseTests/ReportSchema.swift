import Foundation

/// The report's schema as far as a face can spoil a report: required fields, unknown fields, and the kinds of values.
/// The whole schema is checked by the harness's own tests and by Kotlin's.
struct ReportSchema {
    private let root: [String: Any]

    init(file: URL) throws {
        root = try JSONSerialization.jsonObject(with: Data(contentsOf: file)) as? [String: Any] ?? [:]
    }

    /// What is wrong with `report`, each with its place.
    func violations(in report: Any) -> [String] {
        violations(of: report, against: root, at: "")
    }

    private func violations(of value: Any, against given: [String: Any], at place: String) -> [String] {
        let schema = resolved(given)
        if let choices = (schema["anyOf"] ?? schema["oneOf"]) as? [[String: Any]] {
            let all = choices.map { violations(of: value, against: $0, at: place) }
            return all.contains { $0.isEmpty } ? [] : ["\(place): none of \(choices.count) forms"]
        }
        if let constant = schema["const"] as? String { return value as? String == constant ? [] : ["\(place): \(value)"] }
        if let words = schema["enum"] as? [String] {
            return words.contains(value as? String ?? "") ? [] : ["\(place): \(value) is none of \(words)"]
        }
        guard isOfKind(value, schema["type"]) else { return ["\(place): \(value) is no \(schema["type"] ?? "")"] }
        if let elements = value as? [Any], let items = schema["items"] as? [String: Any] {
            return elements.enumerated().flatMap { violations(of: $1, against: items, at: "\(place)/\($0)") }
        }
        guard let fields = value as? [String: Any] else { return [] }
        return violations(of: fields, against: schema, at: place)
    }

    private func violations(of fields: [String: Any], against schema: [String: Any], at place: String) -> [String] {
        let properties = schema["properties"] as? [String: Any] ?? [:]
        let missing = (schema["required"] as? [String] ?? []).filter { fields[$0] == nil }
        return missing.map { "\(place)/\($0) is missing" }
            + fields.flatMap { name, value -> [String] in
                let others = schema["additionalProperties"]
                if let schema = (properties[name] ?? others) as? [String: Any] {
                    return violations(of: value, against: schema, at: "\(place)/\(name)")
                }
                return others as? Bool == false ? ["\(place)/\(name) is unknown"] : []
            }
    }

    private func resolved(_ schema: [String: Any]) -> [String: Any] {
        guard let reference = schema["$ref"] as? String, let name = reference.split(separator: "/").last else {
            return schema
        }
        return (root["$defs"] as? [String: Any])?[String(name)] as? [String: Any] ?? [:]
    }

    private func isOfKind(_ value: Any, _ kind: Any?) -> Bool {
        let kinds = kind as? [String] ?? (kind as? String).map { [$0] } ?? []
        return kinds.isEmpty
            || kinds.contains {
                switch $0 {
                case "null": value is NSNull
                case "string": value is String
                case "boolean": value is Bool
                case "number", "integer": value is NSNumber
                case "array": value is [Any]
                default: value is [String: Any]
                }
            }
    }
}
