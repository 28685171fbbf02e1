// Port ids and XSKMAP slots: small numbers that are handed out and taken back.
using XenFastPath.Dataplane;

namespace XenFastPath.Daemon.FastPath;

/// <summary>Hands out port ids (1..) and runs of XSKMAP slots, lowest first.</summary>
internal sealed class PortSlots
{
    private readonly bool[] _ids = new bool[Layout.PortsMax];
    private readonly bool[] _xsks = new bool[Layout.XsksMax];

    public PortSlots() => _ids[0] = true;   // 0 means "no entry" in the FDB

    /// <summary>A free port id.</summary>
    /// <exception cref="FastPathException">All are taken.</exception>
    public ushort TakeId()
    {
        int id = Array.IndexOf(_ids, false);
        if (id < 0)
            throw new FastPathException($"no more than {Layout.PortsMax - 1} ports");
        _ids[id] = true;
        return (ushort)id;
    }

    public void MarkId(ushort id) => _ids[id] = true;

    public void ReturnId(ushort id) => _ids[id] = false;

    /// <summary>The first of <paramref name="count"/> free slots in a row.</summary>
    /// <exception cref="FastPathException">There is no such run.</exception>
    public ushort TakeXsks(int count)
    {
        for (int first = 0; first + count <= _xsks.Length; first++)
        {
            if (_xsks.AsSpan(first, count).Contains(true))
                continue;
            _xsks.AsSpan(first, count).Fill(true);
            return (ushort)first;
        }

        throw new FastPathException($"no more than {Layout.XsksMax} port queues");
    }

    public void MarkXsks(int first, int count) => _xsks.AsSpan(first, count).Fill(true);

    public void ReturnXsks(int first, int count) => _xsks.AsSpan(first, count).Clear();
}
