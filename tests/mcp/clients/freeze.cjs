// For comparing two runs of a server: its clock stands still.
Date.prototype.toLocaleTimeString = () => "12:00:00 PM";
