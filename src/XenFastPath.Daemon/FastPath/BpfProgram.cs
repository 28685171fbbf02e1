// The BPF object: loaded from memory with libbpf, its maps pinned per instance and layout version.
using System.Text;
using XenFastPath.Dataplane;
using XenFastPath.Interop;
using static Tmds.Linux.LibC;

namespace XenFastPath.Daemon.FastPath;

/// <summary>
/// Where the pins of one instance live: <c>&lt;bpffs&gt;/xenfastpath/&lt;instance&gt;/v&lt;layout&gt;/</c>, with the number of addresses behind it
/// where that is not the default: maps of another size are another layout. Maps and links in it outlive the daemon.
/// </summary>
internal sealed class PinFolder
{
    private const string Root = "xenfastpath";

    public PinFolder(string bpffs, string runDir, int macsMax = Limits.MacsDefault)
    {
        MacsMax = macsMax;
        // Dashes for slashes, and what could be mistaken for one, or is reserved in bpffs (dots), as %hex: no two run-dirs are alike.
        byte[] path = Encoding.UTF8.GetBytes(System.IO.Path.GetFullPath(runDir).Trim('/'));
        string instance = string.Concat(path.Select(c => c == '/' ? "-" : char.IsAsciiLetterOrDigit((char)c) || c == '_' ? $"{(char)c}" : $"%{c:x2}"));
        instance = instance.Length == 0 ? "-" : instance;
        Instance = instance;
        InstancePath = System.IO.Path.Combine(bpffs, Root, instance);
        Path = System.IO.Path.Combine(InstancePath, $"v{Layout.Version}" + (macsMax == Limits.MacsDefault ? "" : $"-macs{macsMax}"));
    }

    /// <summary>Addresses that the tables of this instance have room for.</summary>
    public int MacsMax { get; }

    public string Instance { get; }

    public string InstancePath { get; }

    public string Path { get; }

    public string Link(int ifindex, string hook) => System.IO.Path.Combine(Path, $"link-{ifindex}-{hook}");

    /// <summary>Folders of other layout versions: to be replaced, never reused.</summary>
    public IEnumerable<string> OtherVersions() => Directory.EnumerateDirectories(InstancePath).Where(d => d != Path);

    /// <summary>Removes the folder with all its pins; what they held is gone unless somebody else holds it.</summary>
    public static void Remove(string folder)
    {
        foreach (string pin in Directory.EnumerateFiles(folder))
            File.Delete(pin);
        Directory.Delete(folder);
    }
}

/// <summary>The loaded programs and maps. Owns the libbpf object; the descriptors live as long.</summary>
internal sealed unsafe class BpfProgram : IDisposable
{
    private nint _object;

    private BpfProgram(nint loaded) => _object = loaded;

    public int Xdp => Program("xfp_xdp");

    public int Policy => Program("xfp_policy");

    /// <summary>
    /// Makes sure that there is a BPF file system, loads the programs of one object (native/NAME.bpf.c) and creates the maps or takes
    /// the pinned ones.
    /// </summary>
    /// <exception cref="FastPathException">What is missing, and how to get it.</exception>
    public static BpfProgram Load(string bpffs, PinFolder pins, string objectName = "xenfastpath")
    {
        Mount(bpffs);
        Directory.CreateDirectory(pins.Path);
        using Stream stream = typeof(BpfProgram).Assembly.GetManifestResourceStream(objectName + ".bpf.o")
            ?? throw new FastPathException($"the BPF object {objectName} is missing from this build");
        byte[] elf = new byte[stream.Length];
        stream.ReadExactly(elf);
        byte[] root = Encoding.UTF8.GetBytes(pins.Path + '\0');
        byte[] name = Encoding.UTF8.GetBytes(objectName + '\0');
        fixed (byte* data = elf, rootPath = root, namePointer = name)
        {
            bpf_object_open_opts options = new() { sz = (nuint)sizeof(bpf_object_open_opts), object_name = namePointer, pin_root_path = rootPath };
            nint opened = LibBpf.bpf_object__open_mem(data, (nuint)elf.Length, &options);
            if (opened == 0)
                throw new FastPathException("libbpf cannot read the BPF object: " + Errno.Describe(Errno.Last));
            nint fdb = LibBpf.bpf_object__find_map_by_name(opened, "xfp_fdb");
            if (fdb != 0)
                _ = LibBpf.bpf_map__set_max_entries(fdb, FdbMap.ElementsFor(pins.MacsMax));     // fails only once it is loaded
            int error = -LibBpf.bpf_object__load(opened);
            if (error != 0)
            {
                LibBpf.bpf_object__close(opened);
                throw new FastPathException("the kernel refuses the BPF program: " + Explain(error, pins));
            }

            return new BpfProgram(opened);
        }
    }

    /// <summary>Descriptor of a map; the object's, not to be closed.</summary>
    public int Map(string name)
    {
        int fd = LibBpf.bpf_object__find_map_fd_by_name(_object, name);
        return fd >= 0 ? fd : throw new FastPathException($"map {name} is missing from the BPF object");
    }

    public void Dispose()
    {
        if (_object != 0)
            LibBpf.bpf_object__close(_object);
        _object = 0;
    }

    /// <summary>Descriptor of a program; the object's, not to be closed.</summary>
    public int Program(string name) => LibBpf.bpf_program__fd(LibBpf.bpf_object__find_program_by_name(_object, name));

    private static string Explain(int error, PinFolder pins) => Errno.Describe(error) + error switch
    {
        Errno.EPERM => "; CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON are needed (run as root)",
        Errno.EINVAL when !HasAfXdp() => "; this kernel has no AF_XDP, it takes one with CONFIG_XDP_SOCKETS",
        Errno.EINVAL => $"; if maps of another build are pinned in {pins.Path}, remove them",
        _ => "",
    };

    private static bool HasAfXdp()
    {
        int fd = socket(IfXdp.AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
        if (fd >= 0)
            close(fd);
        return fd >= 0 || Errno.Last != Errno.EAFNOSUPPORT;
    }

    private static void Mount(string bpffs)
    {
        const long BPF_FS_MAGIC = 0xcafe4a11;
        if (FileSystemMagic(bpffs) == BPF_FS_MAGIC)
            return;
        int error = 0;
        fixed (byte* source = "bpf\0"u8, target = Encoding.UTF8.GetBytes(bpffs + '\0'), type = "bpf\0"u8)
        {
            if (Directory.Exists(bpffs) && mount(source, target, type, 0, null) == 0)
                return;
            error = Errno.Last;
        }

        throw new FastPathException($"{bpffs} is no BPF file system and cannot be made one ({Errno.Describe(error)}): mount -t bpf bpf {bpffs}");
    }

    private static long FileSystemMagic(string path)
    {
        // struct statfs begins with f_type, a long on the 64-bit machines this runs on.
        const int statfsBytes = 120;
        long* buffer = stackalloc long[statfsBytes / sizeof(long)];
        fixed (byte* name = Encoding.UTF8.GetBytes(path + '\0'))
            return Libc.statfs(name, buffer) == 0 ? buffer[0] : 0;
    }
}

/// <summary>The fast path, or a part of it, cannot be had; the message says why and what to do.</summary>
internal class FastPathException(string message) : Exception(message);
