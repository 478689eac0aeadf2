import Foundation
import Testing

/// Holds the module table of ARCHITECTURE.md and the `import` lines of the sources together.
@Suite struct ModuleTableTests {
    static let root = URL(filePath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent()

    /// Rows of the table in their order: a module and what it may import.
    let table: [(module: String, allowed: Set<String>)]

    init() throws {
        let text = try String(
            contentsOf: Self.root.appending(path: "ARCHITECTURE.md"), encoding: .utf8)
        var rows: [(String, Set<String>)] = []
        for line in text.split(separator: "\n") where line.hasPrefix("| `") {
            let cells = line.split(separator: "|", omittingEmptySubsequences: false)
            let names = cells.map { $0.matches(of: /`(\w+)`/).map { String($0.1) } }
            rows.append((names[1][0], Set(names[2])))
        }
        table = rows
    }

    /// Module names in the `import` lines of a module's sources.
    func imports(of module: String) throws -> Set<String> {
        let folder = Self.root.appending(path: "Sources/\(module)")
        let files = FileManager.default.enumerator(at: folder, includingPropertiesForKeys: nil)
        var result: Set<String> = []
        while let file = files?.nextObject() as? URL {
            guard ["swift", "c", "cpp", "h"].contains(file.pathExtension) else { continue }
            let text = try String(contentsOf: file, encoding: .utf8)
            for match in text.matches(of: /(?m)^(?:\w+ )?import (?:\w+ )?(\w+)/) {
                result.insert(String(match.1))
            }
            for match in text.matches(of: /(?m)^#\s*include "(\w+)\.h"/) {
                result.insert(String(match.1))
            }
        }
        return result
    }

    @Test func `every module has a row and every row a module`() throws {
        let folders = try FileManager.default.contentsOfDirectory(
            atPath: Self.root.appending(path: "Sources").path)
        #expect(Set(folders) == Set(table.map(\.module)))
        #expect(table.count == folders.count)
    }

    @Test func `a module imports exactly what its row says`() throws {
        let modules = Set(table.map(\.module))
        for (module, allowed) in table {
            let ours = try imports(of: module).intersection(modules).subtracting([module])
            #expect(ours == allowed, "\(module) imports \(ours), the table says \(allowed)")
        }
    }

    @Test func `rows name only modules above them`() {
        var above: Set<String> = []
        for (module, allowed) in table {
            #expect(allowed.isSubset(of: above), "\(module) would look down")
            above.insert(module)
        }
    }

    @Test func `a C library is imported by one module alone`() throws {
        let owners = [
            "CLibAV": "LibAV", "CLibV4L": "V4L2", "CTOML": "Daemon", "CBLAS": "NeuralEngine",
            "CKernels": "NeuralEngine", "CAllocationCounter": "lucida",
        ]
        for (module, _) in table {
            for (library, owner) in owners where try imports(of: module).contains(library) {
                #expect(module == owner || module == library, "\(module) imports \(library)")
            }
        }
    }

    @Test
    func `relative links and pictures in the documents exist, and nothing is left to fill in`()
        throws
    {
        let names = [
            "README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "Models/base.md",
            "Models/ink.md", "Models/small.md", "docs/gallery.md", "docs/model.md",
        ]
        for name in names {
            let file = Self.root.appending(path: name)
            let text = try String(contentsOf: file, encoding: .utf8)
            for match in text.matches(of: /\]\(([^)#:]+)\)/) {
                let target = file.deletingLastPathComponent().appending(path: String(match.1))
                #expect(
                    FileManager.default.fileExists(atPath: target.path),
                    "\(name) links to \(match.1)")
            }
            #expect(text.matches(of: /\b[A-Z]+_(SAMPLE|TABLE)\b/).isEmpty, "\(name)")
        }
    }

    @Test func `devices and network meet in Daemon alone`() throws {
        let devices: Set = ["V4L2", "LibAV"]
        let network: Set = ["NeuralEngine", "Models"]
        for module in devices.union(network).union(["Pipeline"]) {
            let others = devices.contains(module) ? network : devices
            #expect(try imports(of: module).isDisjoint(with: others))
        }
        #expect(try imports(of: "Pipeline").isDisjoint(with: devices.union(network)))
    }
}
