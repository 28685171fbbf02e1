// DNS servers that requests name: told to systemd-resolved, else to resolvconf, else written into /etc/resolv.conf as a block of ours.
using System.Diagnostics;
using System.Text;

namespace XenFastPath.Daemon.Host;

/// <summary>DNS of one device.</summary>
internal sealed record DnsWish(string Device, IReadOnlyList<string> Servers, string? Domain)
{
    public bool Equals(DnsWish? other) => other is not null && Device == other.Device && Domain == other.Domain && Servers.SequenceEqual(other.Servers);

    public override int GetHashCode() => HashCode.Combine(Device, Domain, Servers.Count);
}

/// <summary>
/// Keeps the resolver in line with what is wanted. <paramref name="root"/> is another folder in tests, <paramref name="run"/> runs a
/// program with text on its input.
/// </summary>
internal sealed class Resolver(string root, Action<string, string[], string> run)
{
    private const string Begin = "# xenfastpath: begin; what stands between these lines is rewritten", End = "# xenfastpath: end";

    /// <summary>The controller waits meanwhile, and with it whatever else is due.</summary>
    private const int AnswerWaitMsMax = 5000;

    private IReadOnlyList<DnsWish>? _inForce;

    public Resolver() : this("/", Run)
    {
    }

    /// <summary>Makes it so; does nothing if it is so already.</summary>
    public void Converge(IReadOnlyList<DnsWish> wanted)
    {
        if (_inForce is not null && _inForce.SequenceEqual(wanted))
            return;
        DnsWish[] gone = [.. (_inForce ?? []).Where(w => wanted.All(n => n.Device != w.Device))];
        if (Directory.Exists(Path.Combine(root, "run/systemd/resolve")))
            Resolved(wanted, gone);
        else if (Resolvconf() is { } resolvconf)
            Resolvconf(resolvconf, wanted, gone);
        else
            WriteBlock(wanted);
        _inForce = wanted;
    }

    private void Resolved(IReadOnlyList<DnsWish> wanted, DnsWish[] gone)
    {
        foreach (DnsWish wish in gone)
            run("resolvectl", ["revert", wish.Device], "");
        foreach (DnsWish wish in wanted)
        {
            run("resolvectl", ["dns", wish.Device, .. wish.Servers], "");
            run("resolvectl", ["domain", wish.Device, wish.Domain ?? ""], "");
        }
    }

    private void Resolvconf(string resolvconf, IReadOnlyList<DnsWish> wanted, DnsWish[] gone)
    {
        foreach (DnsWish wish in gone)
            run(resolvconf, ["-d", wish.Device + ".xenfastpath"], "");
        foreach (DnsWish wish in wanted)
            run(resolvconf, ["-a", wish.Device + ".xenfastpath"], Text([wish]));
    }

    /// <summary>The block first: the resolver asks the servers in the file's order, and takes three of them (man 5 resolv.conf).</summary>
    private void WriteBlock(IReadOnlyList<DnsWish> wanted)
    {
        string path = Path.Combine(root, "etc/resolv.conf");
        // A link stays a link; what it points to is written.
        if (new FileInfo(path).LinkTarget is not null)
            path = File.ResolveLinkTarget(path, returnFinalTarget: true)?.FullName ?? path;
        string before = File.Exists(path) ? File.ReadAllText(path) : "";
        int begin = before.IndexOf(Begin, StringComparison.Ordinal), end = before.IndexOf(End + "\n", StringComparison.Ordinal);
        string others = begin >= 0 && end > begin ? before[..begin] + before[(end + End.Length + 1)..] : before;
        string after = wanted.Count == 0 ? others : $"{Begin}\n{Text(wanted)}{End}\n{others}";
        if (after == before)
            return;
        try
        {
            string temporary = path + ".xenfastpath";
            File.WriteAllText(temporary, after);
            if (File.Exists(path))
                File.SetUnixFileMode(temporary, File.GetUnixFileMode(path));
            File.Move(temporary, path, overwrite: true);
        }
        catch (IOException)
        {
            File.Delete(path + ".xenfastpath");
            File.WriteAllText(path, after);     // a mount of its own, as in containers, cannot be replaced
        }
    }

    private string? Resolvconf() =>
        ((string[])["sbin/resolvconf", "usr/sbin/resolvconf"]).Select(p => Path.Combine(root, p)).FirstOrDefault(File.Exists);

    private static string Text(IReadOnlyList<DnsWish> wanted)
    {
        StringBuilder text = new();
        if (wanted.FirstOrDefault(w => w.Domain is not null) is { } named)
            text.Append($"search {named.Domain}\n");
        foreach (string server in wanted.SelectMany(w => w.Servers).Distinct())
            text.Append($"nameserver {server}\n");
        return text.ToString();
    }

    private static void Run(string program, string[] arguments, string input)
    {
        ProcessStartInfo info = new(program) { RedirectStandardInput = true };
        foreach (string argument in arguments)
            info.ArgumentList.Add(argument);
        using Process process = Process.Start(info)!;
        process.StandardInput.Write(input);
        process.StandardInput.Close();
        if (!process.WaitForExit(AnswerWaitMsMax))
        {
            process.Kill();
            throw new IOException($"{program} {string.Join(' ', arguments)}: no answer within {AnswerWaitMsMax} ms");
        }

        if (process.ExitCode != 0)
            throw new IOException($"{program} {string.Join(' ', arguments)}: exit {process.ExitCode}");
    }
}
