// Makes the kernel's grace periods short while programs are hung on many devices.
using System.Globalization;
using XenFastPath.Interop;

namespace XenFastPath.Daemon.FastPath;

/// <summary>
/// The kernel waits for an RCU grace period under its lock for all network configuration whenever a tcx program comes or goes
/// (tcx_entry_sync()): 8 to 15 ms for each port, in which nobody else can set anything up either. Its switch for expedited ones
/// (/sys/kernel/rcu_expedited; Documentation/admin-guide/kernel-parameters.txt) makes that some 50 us and costs the other CPUs an
/// interrupt each. It is global, so it is on only while a plan is carried out; a note beside the daemon's socket says that it was us,
/// so that the next daemon switches it back should this one be killed.
/// </summary>
internal sealed class ExpeditedGrace : IDisposable
{
    private const string Switch = "/sys/kernel/rcu_expedited";

    private readonly string _note;
    private readonly FileStream? _held;

    private ExpeditedGrace(string note, FileStream? held)
    {
        _note = note;
        _held = held;
    }

    /// <summary>Switches it on until disposed. Does nothing where somebody else has it on, or may not be asked: then it takes longer.</summary>
    public static ExpeditedGrace Begin(string runDir)
    {
        string note = NoteIn(runDir);
        FileStream? file = null;
        try
        {
            file = new FileStream(Switch, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite, bufferSize: 0);
            // Two daemons: the first one switches, for the second could not tell what to restore.
            if (FileLock.TryExclusive((int)file.SafeFileHandle.DangerousGetHandle()) && Read(file) == 0)
            {
                File.WriteAllText(note, "xenfastpathd has set " + Switch + " to 1; it was 0\n");
                Write(file, 1);
                return new ExpeditedGrace(note, file);
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or SystemCallException)
        {
            // A container, or a kernel without the switch.
        }

        file?.Dispose();
        return new ExpeditedGrace(note, null);
    }

    /// <summary>Switches off what a daemon of this run-dir that was killed has left on.</summary>
    public static void Mend(string runDir)
    {
        try
        {
            if (!File.Exists(NoteIn(runDir)))
                return;
            File.WriteAllText(Switch, "0");
            File.Delete(NoteIn(runDir));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            Log.Warning($"{Switch}: {e.Message}");
        }
    }

    public void Dispose()
    {
        if (_held is null)
            return;
        try
        {
            Write(_held, 0);
            File.Delete(_note);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            Log.Warning($"{Switch}: {e.Message}");
        }

        _held.Dispose();
    }

    private static string NoteIn(string runDir) => Path.Combine(runDir, "rcu_expedited");

    private static int Read(FileStream file)
    {
        Span<byte> text = stackalloc byte[16];
        file.Position = 0;
        return int.Parse(text[..file.Read(text)].TrimEnd((byte)'\n'), CultureInfo.InvariantCulture);
    }

    private static void Write(FileStream file, int value)
    {
        file.Position = 0;
        file.Write([(byte)('0' + value)]);
        file.Flush();
    }
}
