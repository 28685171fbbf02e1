// A header of native/ as a C compiler sees it: names are found in the text, what they mean is asked of gcc.
using System.ComponentModel;
using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Text;
using System.Text.RegularExpressions;

namespace XenFastPath.Tests.Native;

/// <summary>One field of a C struct.</summary>
internal sealed record NativeField(string Struct, string Name, long Offset, long Size);

internal sealed partial class NativeHeader
{
    public Dictionary<string, long> Constants { get; } = [];

    public Dictionary<string, long> StructSizes { get; } = [];

    public List<NativeField> Fields { get; } = [];

    /// <summary>What the calls of the program's own functions returned.</summary>
    public List<ulong> Results { get; } = [];

    public static string Root([CallerFilePath] string caller = "") => Path.GetFullPath(Path.Combine(Path.GetDirectoryName(caller)!, "../../.."));

    /// <summary>
    /// Compiles and runs the questions about NAME.h and functions of NAME.bpf.c or its parts (*.bpf.h); null if there is no gcc.
    /// </summary>
    public static NativeHeader? Ask(string name, IReadOnlyList<string> functions, IEnumerable<string> functionCalls)
    {
        string native = Path.Combine(Root(), "native");
        string header = WithoutComments(File.ReadAllText(Path.Combine(native, name + ".h")));
        string folder = Directory.CreateTempSubdirectory("xfp-layout").FullName;
        try
        {
            string source = Path.Combine(folder, "ask.c"), program = Path.Combine(folder, "ask");
            string bpf = File.ReadAllText(Path.Combine(native, name + ".bpf.c"));
            string parts = string.Concat(BpfInclude().Matches(bpf).Select(m => File.ReadAllText(Path.Combine(native, m.Groups[1].Value))));
            File.WriteAllText(source, Questions(name, header, functions, functionCalls, bpf + parts));
            return Run("gcc", "-std=gnu11", "-Wall", "-Werror", "-I", native, "-o", program, source) is null ? null : Answers(Run(program)!);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static string Questions(string file, string header, IReadOnlyList<string> functions, IEnumerable<string> functionCalls, string bpf)
    {
        StringBuilder c = new($"#include <stddef.h>\n#include <stdio.h>\n#include \"{file}.h\"\n");
        c.Append("typedef unsigned long long u64;\ntypedef unsigned int u32;\ntypedef unsigned short u16;\n");
        foreach (string function in functions)
        {
            Match body = Regex.Match(bpf, $@"^static __always_inline \w+ {function}\(.*?^}}", RegexOptions.Multiline | RegexOptions.Singleline);
            Assert.True(body.Success, $"{file}.bpf.c has no function {function}");
            c.Append(body.Value).Append('\n');
        }

        c.Append("int main(void)\n{\n");
        foreach (string name in Names(DefineLine(), header).Concat(Names(EnumMember(), header)))
            c.Append($"\tprintf(\"constant {name} %lld\\n\", (long long)({name}));\n");
        foreach (Match match in Struct().Matches(header))
        {
            string name = match.Groups[1].Value;
            c.Append($"\tprintf(\"struct {name} %zu\\n\", sizeof(struct {name}));\n");
            foreach (string field in Names(FieldLine(), match.Groups[2].Value))
                c.Append($"\tprintf(\"field {name} {field} %zu %zu\\n\", offsetof(struct {name}, {field}), sizeof(((struct {name} *)0)->{field}));\n");
        }

        foreach (string call in functionCalls)
            c.Append($"\tprintf(\"call %llu\\n\", (u64){call});\n");
        return c.Append("\treturn 0;\n}\n").ToString();
    }

    private static NativeHeader Answers(string output)
    {
        NativeHeader header = new();
        foreach (string[] words in output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(l => l.Split(' ')))
        {
            switch (words[0])
            {
                case "constant": header.Constants.Add(words[1], long.Parse(words[2])); break;
                case "struct": header.StructSizes.Add(words[1], long.Parse(words[2])); break;
                case "field": header.Fields.Add(new NativeField(words[1], words[2], long.Parse(words[3]), long.Parse(words[4]))); break;
                case "call": header.Results.Add(ulong.Parse(words[1])); break;
            }
        }

        return header;
    }

    /// <summary>The program's output; null if it is not installed.</summary>
    private static string? Run(string program, params string[] arguments)
    {
        ProcessStartInfo start = new(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
        try
        {
            using Process process = Process.Start(start)!;
            Task<string> errors = process.StandardError.ReadToEndAsync();
            string output = process.StandardOutput.ReadToEnd();
            process.WaitForExit();
            Assert.True(process.ExitCode == 0, $"{program}: {errors.Result}");
            return output;
        }
        catch (Win32Exception)
        {
            return null;
        }
    }

    private static IEnumerable<string> Names(Regex regex, string text) => regex.Matches(text).Select(m => m.Groups[1].Value);

    private static string WithoutComments(string text) => Comment().Replace(text, "");

    [GeneratedRegex(@"/\*.*?\*/", RegexOptions.Singleline)]
    private static partial Regex Comment();

    /// <summary>A constant; the include guard has no value and is none.</summary>
    [GeneratedRegex(@"^#define[ \t]+(\w+)[ \t]+\S", RegexOptions.Multiline)]
    private static partial Regex DefineLine();

    [GeneratedRegex("^#include \"(\\w+\\.bpf\\.h)\"", RegexOptions.Multiline)]
    private static partial Regex BpfInclude();

    [GeneratedRegex(@"^\t(XFP_\w+)\b[^;\n]*$", RegexOptions.Multiline)]
    private static partial Regex EnumMember();

    [GeneratedRegex(@"^struct (\w+) \{\n(.*?)^\};", RegexOptions.Multiline | RegexOptions.Singleline)]
    private static partial Regex Struct();

    /// <summary>A field of the struct itself: one tab deep. A field that is a struct ends with its brace.</summary>
    [GeneratedRegex(@"^\t[\w} ]*?(\w+)(?:\[\w+\])?;", RegexOptions.Multiline)]
    private static partial Regex FieldLine();
}
