// Hangs programs on devices. What is attached stays attached while the daemon restarts: the links are pinned.
using System.Globalization;
using XenFastPath.Interop;
using XenFastPath.Netlink;
using static Tmds.Linux.LibC;

namespace XenFastPath.Daemon.FastPath;

/// <summary>A program and where it hangs.</summary>
/// <param name="Name">In the name of the pin; no dash.</param>
/// <param name="Program">Descriptor of the program.</param>
/// <param name="AttachType">BPF_XDP, BPF_TCX_INGRESS or BPF_TCX_EGRESS.</param>
/// <param name="FilterName">Before tcx: the filter by which it is found again.</param>
internal sealed record Hook(string Name, int Program, int AttachType, string FilterName = "")
{
    public TcHook TcHook => AttachType == LibBpf.BPF_TCX_EGRESS ? TcHook.Egress : TcHook.Ingress;
}

/// <summary>
/// Attaches to tc (tcx from kernel 6.6 on, before that a clsact filter) and to XDP. A link that an earlier daemon pinned is taken
/// over and its program swapped without a gap. Tests say <paramref name="mayUseTcx"/> false to have the filter.
/// </summary>
internal sealed unsafe class Hooks(PinFolder pins, Rtnl rtnl, IReadOnlyList<Hook> hooks, bool mayUseTcx)
{
    /// <summary>BPF_F_BEFORE without a relative: in front of everybody else's programs, which might end the chain.</summary>
    private const uint BPF_F_BEFORE = 8;

    private readonly Dictionary<(int Ifindex, string Hook), int> _links = [];
    private bool _isTcxMissing = !mayUseTcx;

    /// <summary>Takes over the links that are pinned: this layout's, and those of other versions, which move here.</summary>
    public void TakeOver()
    {
        foreach (string folder in pins.OtherVersions().ToList())
        {
            foreach (string pin in Directory.EnumerateFiles(folder, "link-*"))
                Move(pin);
            PinFolder.Remove(folder);
        }

        foreach (string pin in Directory.EnumerateFiles(pins.Path, "link-*"))
        {
            if (LinkOf(pin) is not var (ifindex, hook))
                continue;
            int fd = LibBpf.bpf_obj_get(pin);
            int error = fd < 0 ? -fd : -LibBpf.bpf_link_update(fd, hook.Program, null);
            if (error == 0)
            {
                _links[(ifindex, hook.Name)] = fd;
                continue;
            }

            // The device is gone: what is left of the link is its name.
            if (fd >= 0)
                close(fd);
            File.Delete(pin);
        }
    }

    /// <summary>
    /// Puts a program on a tc hook, unless it is there: in front of everybody else's at ingress, behind them at egress, where ours may
    /// take the frame away.
    /// </summary>
    /// <exception cref="FastPathException">The kernel refused.</exception>
    public void Attach(Hook hook, int ifindex, string device)
    {
        if (Has(hook, ifindex))
            return;
        if (!_isTcxMissing)
        {
            int error = Create(hook, ifindex, hook.TcHook == TcHook.Ingress ? BPF_F_BEFORE : 0);
            if (error == 0)
                return;
            if (error != Errno.EINVAL)
                throw new FastPathException($"hook {hook.Name} on {device}: {Errno.Describe(error)}");
            _isTcxMissing = true;
        }

        AttachFilter(hook, ifindex);
    }

    /// <summary>Attaches XDP, unless it is there. Returns 0 or the errno.</summary>
    public int AttachXdp(Hook hook, int ifindex, bool native) =>
        Has(hook, ifindex) ? 0 : Create(hook, ifindex, native ? LibBpf.XDP_FLAGS_DRV_MODE : LibBpf.XDP_FLAGS_SKB_MODE);

    /// <summary>Is there a link? A filter is none.</summary>
    public bool Has(Hook hook, int ifindex) => _links.ContainsKey((ifindex, hook.Name));

    /// <summary>Takes a program off; the device may be gone.</summary>
    public void Detach(Hook hook, int ifindex)
    {
        if (_links.Remove((ifindex, hook.Name), out int link))
        {
            File.Delete(pins.Link(ifindex, hook.Name));
            close(link);    // the last reference: the kernel detaches
            return;
        }

        if (hook.AttachType == LibBpf.BPF_XDP)
            return;
        try
        {
            if (OurFilter(hook, ifindex) is { } ours)
                rtnl.DeleteBpfFilter(ifindex, hook.TcHook, ours.Priority);
        }
        catch (NetlinkException)
        {
            // Gone with its device.
        }
    }

    /// <summary>Without tcx: a filter of our name, new at a priority that nobody has, or in the place of an earlier daemon's.</summary>
    private void AttachFilter(Hook hook, int ifindex)
    {
        try
        {
            rtnl.CreateClsact(ifindex);
        }
        catch (NetlinkException e) when (e.Errno == Errno.EEXIST)
        {
            // Somebody else's filters live there too. One that has priority 1 runs before ours, and may end the chain.
        }

        if (OurFilter(hook, ifindex) is { } ours)
        {
            rtnl.SetBpfFilter(ifindex, hook.TcHook, ours.Priority, hook.Program, hook.FilterName);
            return;
        }

        HashSet<ushort> taken = [.. rtnl.GetFilters(ifindex, hook.TcHook).Select(f => f.Priority)];
        ushort priority = hook.TcHook == TcHook.Ingress ? (ushort)1 : (ushort)Math.Min(taken.DefaultIfEmpty().Max() + 1, ushort.MaxValue);
        while (taken.Contains(priority))
            priority++;
        rtnl.AddBpfFilter(ifindex, hook.TcHook, priority, hook.Program, hook.FilterName);
    }

    private FilterInfo? OurFilter(Hook hook, int ifindex) => rtnl.GetFilters(ifindex, hook.TcHook).FirstOrDefault(f => f.BpfName == hook.FilterName);

    private int Create(Hook hook, int ifindex, uint flags)
    {
        string pin = pins.Link(ifindex, hook.Name);
        bpf_link_create_opts options = new() { sz = (nuint)sizeof(bpf_link_create_opts), flags = flags };
        int link = LibBpf.bpf_link_create(hook.Program, ifindex, hook.AttachType, &options);
        if (link < 0)
            return -link;
        int error = -LibBpf.bpf_obj_pin(link, pin);
        if (error == Errno.EEXIST)
        {
            // Of a link that is none any more.
            File.Delete(pin);
            error = -LibBpf.bpf_obj_pin(link, pin);
        }

        if (error != 0)
        {
            close(link);
            return error;
        }

        _links[(ifindex, hook.Name)] = link;
        return 0;
    }

    /// <summary>The device and the program that a pin is of (<see cref="PinFolder.Link"/>); null if it is somebody else's to take over.</summary>
    private (int Ifindex, Hook Hook)? LinkOf(string pin)
    {
        ReadOnlySpan<char> name = Path.GetFileName(pin.AsSpan());
        int first = name.IndexOf('-'), last = name.LastIndexOf('-');
        if (first == last || !int.TryParse(name[(first + 1)..last], CultureInfo.InvariantCulture, out int ifindex))
            return null;
        foreach (Hook hook in hooks)
        {
            if (name[(last + 1)..].SequenceEqual(hook.Name))
                return (ifindex, hook);
        }

        return null;
    }

    /// <summary>A link whose program is not known here keeps the one it has until its owner comes.</summary>
    private void Move(string oldPin)
    {
        int link = LibBpf.bpf_obj_get(oldPin);
        if (link < 0)
            return;
        if (LinkOf(oldPin) is not var (_, hook) || LibBpf.bpf_link_update(link, hook.Program, null) == 0)
            LibBpf.bpf_obj_pin(link, Path.Combine(pins.Path, Path.GetFileName(oldPin)));
        close(link);
    }
}
