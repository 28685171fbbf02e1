// What is measured: something that switches frames between the two devices of a site's dom0.
using XenFastPath.Rig.Lab;

namespace XenFastPath.Rig.Arms;

/// <summary>One kind of switch. <see cref="Start"/> makes it run on a site; what it returns ends it.</summary>
internal abstract class Arm
{
    /// <summary>As it stands in tables and after --arms.</summary>
    public abstract string Name { get; }

    /// <summary>For people: what it is, with its version.</summary>
    public abstract string Describe();

    /// <summary>Does a frame arrive whole whose checksum its sender has left to the device? If not, the stations send whole ones.</summary>
    public virtual bool FinishesChecksums => false;

    /// <summary>Is it a switch that learns addresses? If not, nothing is measured of how.</summary>
    public virtual bool Learns => true;

    /// <summary>Null if it can run here; otherwise what is missing and how to get it.</summary>
    public abstract string? WhyNot();

    /// <summary>Makes it switch on this site, and waits until it knows the addresses of both stations.</summary>
    /// <param name="site">Where; the devices are up, with GRO on.</param>
    /// <param name="learning">Shows it the addresses, if it learns.</param>
    /// <exception cref="RigException">It cannot; the message says why.</exception>
    public abstract IDisposable Start(Site site, Learning learning);
}

/// <summary>Frames from every address that the stations have, and how many that are.</summary>
internal sealed class Learning(Action send, int addresses)
{
    private const int RoundsMax = 40;

    public int Addresses => addresses;

    /// <summary>Shows the addresses until the switch says that it knows them all, or this share of them.</summary>
    public void Until(Func<int> known, double share = 1)
    {
        int last = 0;
        for (int i = 0; i < RoundsMax; i++)
        {
            send();
            last = known();
            if (last >= addresses * share)
                return;
            Thread.Sleep(50);
        }

        throw new RigException($"it has learned {last} of {addresses} addresses");
    }
}

/// <summary>Several things that end together, the last first.</summary>
internal sealed class Parts : IDisposable
{
    private readonly Stack<IDisposable> _parts = [];

    public T Add<T>(T part)
        where T : IDisposable
    {
        _parts.Push(part);
        return part;
    }

    public void Add(Action end) => _parts.Push(new End(end));

    public void Dispose()
    {
        while (_parts.TryPop(out IDisposable? part))
            part.Dispose();
    }

    private sealed class End(Action action) : IDisposable
    {
        public void Dispose() => action();
    }
}
